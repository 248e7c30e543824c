"""How a trip becomes grams in an account: the table of contents of the whole system.

Read each step beside the core module that holds its rules::

    intake     what was reported, checked, named, quantified   core/action, methodology, formula, factors, recipe
    receive    the same for requests, answered row by row       engine/rules, few
    settle     has anyone claimed this already, overlaps, caps  core/claim, settlement
    seal       postings that sum to zero, leaf, tiles, log      core/record, merkle, note, checkpoint
    accounts   what the citizen sees, and why
    receipt    what the citizen can prove without us            core/tlog_proof
    verify     what everyone can check
    city       what all of it comes to, for the city and for each partner
    work       all of this again and again, each at its time
    epoch      the total of a day in the log, and each person's share of it  core/epoch, sum_tree
"""
