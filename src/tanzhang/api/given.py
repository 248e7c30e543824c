"""What a handler is given by its parameter's name: ``home``, ``reader``, ``now`` and ``caller``."""

from __future__ import annotations

from datetime import datetime

from litestar.di import NamedDependency

from tanzhang.core.access import Caller
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

TheHome = NamedDependency[Home]
"""The home that is served, parameter ``home``."""
TheReader = NamedDependency[Reader]
"""The reader of that home that this process keeps, parameter ``reader``."""
Now = NamedDependency[datetime]
"""The moment of the request, parameter ``now``."""
TheCaller = NamedDependency[Caller]
"""Who asks, parameter ``caller``."""
