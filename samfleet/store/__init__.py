"""Permanent results: Parquet segments by model key, their index, and the ledger of detections."""
