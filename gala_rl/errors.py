"""The failures that are told apart: a user's mistake, who could not be kept alive, a full disk."""


class UserError(Exception):
    """A mistake the user can mend: one line that names the value and the remedy.

    The command line prints the line and exits with code 2; nothing has been started or written.
    """


class LearnerFailure(Exception):
    """A learner that could not be kept alive: names its rank and carries its own traceback."""


class ActorFailure(Exception):
    """An actor that its learner could not keep alive: names both; ends the learner."""


class SimulatorFailure(Exception):
    """Simulators in a process that their learner could not keep alive: carries its last words."""


class StorageError(Exception):
    """A run's folder cannot be written any more: one line; what was saved before is untouched."""
