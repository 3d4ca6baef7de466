"""The vendors' APIs: one file per dialect, all listed in ``registry``."""
