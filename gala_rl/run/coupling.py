"""Creates what learners that do not gossip share: a rendezvous, or parameters."""

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
    initial: InitialParameters,
    checkpoint: Checkpoint | None,
    address: str = LOOPBACK,
) -> SharedCoupling | None:
    """Create what the learners of a run share; None if they gossip, or if there is only one.

    Args:
        config: resolved config of the run.
        folder: folder of the run.
        initial: parameters of all learners at the start.
        checkpoint: checkpoint to continue from; None for a new run.
        address: address at which this machine's replicas accept connections.
    """
    sharing = find(config.method).sharing
    if sharing == "gradients" and not config.serial:
        # A replica that has waited this long for a silent one must not count as hung itself.
        deadline_s = config.hang_after / 4
        return Rendezvous(config.learners, folder.path / ".replicas", deadline_s, address)
    if sharing in ("parameters", "locked-parameters"):
        locks = None
        if sharing == "locked-parameters" and not config.serial:
            locks = folder.path / ".chunks"
        # Never reached: a hung learner is killed long before, which releases its locks.
        deadline_s = 2 * config.hang_after
        shared = SharedParameters(
            initial.parameters, config.algorithm, locks, deadline_s, initial.learned
        )
        if checkpoint is not None:
            saved = checkpoint.shared()
            for name, own in shared.tensors().items():
                check_vector(checkpoint, saved, name, own.numel())
            shared.restore(saved)
        return shared
    return None


def couple(shared: SharedCoupling | None, rank: int) -> Coupling | None:
    """Return the coupling of one learner to what all learners share."""
    return GradientAverage(shared, rank) if isinstance(shared, Rendezvous) else shared
