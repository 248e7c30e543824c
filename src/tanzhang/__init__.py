"""Tanzhang 碳账: personal carbon accounts that anyone can verify.

Imports point one way: ``core`` <- ``engine`` <- ``stores`` <- ``service`` <- ``cli``.
Start reading at :mod:`tanzhang.service.lifecycle`.
"""

__version__ = "0.1.0"
