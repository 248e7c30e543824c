"""Seeded simulation of a season: what people do, what partners report of it, and what of that is not as it should be.

``model`` says what a scenario holds, ``draws`` is chance without state, ``tables`` turns shares and quantiles into
look-up tables, ``acts`` makes the acts that happened, ``plant`` what goes wrong with them and what has to become of it,
``rows`` writes both as Arrow columns, ``season`` runs over slices of people and days. Everything is a function of the
seed, the day and the person's number: no state is carried from one slice to the next.
"""
