"""Couples learners that do not gossip: shared gradients or shared parameters."""

from gala_rl.coupling.gradients import GradientAverage as GradientAverage
from gala_rl.coupling.gradients import PeerLost as PeerLost
from gala_rl.coupling.gradients import Rendezvous as Rendezvous
from gala_rl.coupling.parameters import SharedParameters as SharedParameters
