"""Rows that lie on the disk as Arrow tables: what is read, checked and tokenized once is memory-mapped ever after."""
