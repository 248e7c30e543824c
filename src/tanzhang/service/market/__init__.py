"""The market (碳市场): from grams that people entrust to lots, units, sales, retirement and paying back.

One verb a module, in the order of the way: :mod:`rules` and :mod:`terms` (what everything keeps to, and since when that
was public), authorisation, lots, verification, issue, trade, payback, retirement. docs/market.md.
"""
