"""How many seconds a change of a scoring service on Azure may take, step by step and altogether."""

SETTLE_SECONDS = 120.0
"""Until a change of the group that is under way is over: nothing can be asked of the group before that."""
DELETE_SECONDS = 120.0
START_SECONDS = 300.0
"""From the request that makes or replaces a group until it answers: pulling the image, starting the containers, the
first certificate. An estimate, measured on no subscription; a service that is slower is put back and said to be so."""
BACK_SECONDS = 180.0
"""The same for the group that is put back: its image was pulled before, though perhaps on another host."""
SWITCH_SECONDS = 600.0
"""Azure takes minutes to update a gateway; it answers by its old backends until then. As long again is waited for the
gateway's own word that it leads there."""
ENSURE_SECONDS = 2 * SETTLE_SECONDS + 3 * DELETE_SECONDS + START_SECONDS + BACK_SECONDS + 4 * SWITCH_SECONDS
"""The longest that ``ensure`` takes, of whichever services: the group from before is deleted for a new one, which does
not answer and is deleted for it again; behind a gateway that makes up for an earlier switch and
waits for the word, then for its own switch and word, and then deletes the other group.
"""
