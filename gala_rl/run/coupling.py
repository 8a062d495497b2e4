"""What learners that don't gossip have in common, made before they start."""

from gala_rl.agent import InitialParameters
from gala_rl.checks.checkpoint import check_vector
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import GradientAverage, Rendezvous, SharedParameters
from gala_rl.coupling.gradients import LOOPBACK
from gala_rl.learners.learner import Coupling
from gala_rl.methods import find
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder

SharedCoupling = Rendezvous | SharedParameters


def make_shared_coupling(
    config: ResolvedConfig,
    folder: RunFolder,
    beginning: InitialParameters,
    start: Checkpoint | None,
    address: str = LOOPBACK,
) -> SharedCoupling | None:
    """What the learners of a run share; None if they gossip, or if there is one alone.

    Args:
        config: of the run, resolved.
        folder: of the run.
        beginning: what all begin with.
        start: what to continue from.
        address: at which this machine's replicas take connections.
    """
    sharing = find(config.method).sharing
    if sharing == "gradients" and not config.serial:
        # Whoever has waited so long for a silent replica is not taken for silent itself.
        deadline_s = config.hang_after / 4
        place = folder.path / ".replicas"
        return Rendezvous(config.learners, place, deadline_s, address)
    if sharing in ("parameters", "locked-parameters"):
        locks = None
        if sharing == "locked-parameters" and not config.serial:
            locks = folder.path / ".chunks"
        # A silent holder is killed, which opens its locks, well before.
        deadline_s = 2 * config.hang_after
        shared = SharedParameters(
            beginning.parameters, config.algorithm, locks, deadline_s, beginning.learned
        )
        if start is not None:
            saved = start.shared()
            for name, own in shared.tensors().items():
                check_vector(start, saved, name, own.numel())
            shared.restore(saved)
        return shared
    return None


def couple(common: SharedCoupling | None, rank: int) -> Coupling | None:
    """One learner's part in it."""
    return GradientAverage(common, rank) if isinstance(common, Rendezvous) else common
