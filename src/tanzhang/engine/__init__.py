"""How numbers are computed: the exact reference, the DuckDB kernel, bulk hashing."""
