"""Everything that reads or writes: catalogue files, reports, records, book, log."""
