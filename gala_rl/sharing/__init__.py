"""Sharing: what learners that don't gossip do together within each of their gradient steps."""

from gala_rl.sharing.gradients import GradientAverage as GradientAverage
from gala_rl.sharing.gradients import Meeting as Meeting
from gala_rl.sharing.gradients import PeerLost as PeerLost
from gala_rl.sharing.parameters import SharedParameters as SharedParameters
