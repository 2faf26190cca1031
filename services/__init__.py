"""The five services; each is one folder, one process, the same file names."""
