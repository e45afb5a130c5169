"""`expedite audit --watch`: follows the topics and names the first event after which an invariant failed."""

from expedite_local.audit.watch.run import Figures, Options, watch
from expedite_local.audit.watch.story import Violation

__all__ = ["Figures", "Options", "Violation", "watch"]
