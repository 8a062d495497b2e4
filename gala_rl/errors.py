"""The two kinds of failure the package distinguishes: a mistake of the user, a dead learner."""


class UserError(Exception):
    """A mistake the user can mend: one line that names the value and the remedy.

    The command line prints the line and exits with code 2; nothing has been started or written.
    """


class LearnerFailure(Exception):
    """A learner that could not be kept alive: names its rank and carries its own traceback."""
