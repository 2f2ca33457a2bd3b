"""The servers of pages that people look at: MLflow, the reports in the store, Evidently's dashboards."""
