"""What a handler is given by its parameter's name: ``home``, ``now`` and ``caller``."""

from __future__ import annotations

from datetime import datetime

from litestar.di import NamedDependency

from tanzhang.core.access import Caller
from tanzhang.stores.home import Home

TheHome = NamedDependency[Home]
"""The home that is served, parameter ``home``."""
Now = NamedDependency[datetime]
"""The moment of the request, parameter ``now``."""
TheCaller = NamedDependency[Caller]
"""Who asks, parameter ``caller``."""
