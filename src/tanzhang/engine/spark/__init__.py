"""Settlement in parts: what a cluster computes between its shuffles, as functions over tables. Nothing here needs one.

::

    blocks.py      tables as bytes, cut up by the part they go to
    survey.py      what can meet what: accounts, keys, edges, and the settled records that may matter
    sieve.py       a small set that says which settled records are worth a second look
    components.py  accounts that have to be decided together
    subtrees.py    the record tree of a batch from the leaves of its parts
"""
