"""Records that the services of the tests answer."""

FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}


FLIGHT = {"departure": "2013-02-20T12:00:00+01:00", "number": 7, "origin": "JFK", "carrier": "UA", "distance": 2000}
