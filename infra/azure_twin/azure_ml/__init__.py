"""Azure Machine Learning in the twin: workspaces, compute clusters, datastores, runs, models.

Jobs run as local processes from the uploaded snapshot. What is imitated is what azureml-core 1.61
asks for; addresses and bodies are those that the SDK sends and expects.
"""
