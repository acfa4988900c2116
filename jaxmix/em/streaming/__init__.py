"""Data that do not fit in memory: batches read ahead, EM over all of them, online EM from each."""
