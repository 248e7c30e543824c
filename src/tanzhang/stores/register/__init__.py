"""The register: who may do what, and what is under way. Unlike the book's own rows, these may change and be erased.

Its tables stand in the same database as the book and are written in its transactions, so that a request, its answer and
what it booked are there together or not at all. Nothing here is sealed; personal fields can be forgotten.

    deliveries.py   requests of partners, their answers, and accepted reports on their way into a report file
    epochs.py       secrets of accounts, from which the salts of epochs come, and leaves of forgotten ones
    uploads.py      large files of partners that come in pieces
"""
