"""Methods of the user: a `Method` in a module outside of this package, named module:METHOD."""

import importlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gala_rl.config.fields import element_of
from gala_rl.config.settings import AlgorithmSettings
from gala_rl.errors import UserError
from gala_rl.imports import describe, import_object
from gala_rl.methods.method import Method, Sharing
from gala_rl.spaces import EnvKind


def is_own(name: str) -> bool:
    """Return whether the name of a method is that of one outside of this package."""
    return ":" in name


@cache
def own_method(name: str) -> Method:
    """Import a method by its name module:METHOD and check that it can be used.

    Raises:
        UserError: naming the first thing that is wrong.
    """
    what = f"method {name!r}"
    method = import_object(name, what, "METHOD")
    if not isinstance(method, Method):
        raise UserError(
            f"{what} is {type(method).__name__}, not a gala_rl.methods.Method: see "
            f"docs/own-method.md"
        )
    if (defect := next(_defects(method), None)) is not None:
        raise UserError(f"{what} {defect}")
    return method


def check_learner_module(name: str) -> None:
    """Raise a UserError unless the module that makes the learners of an own method can do so.

    It imports PyTorch.
    """
    if not is_own(name):
        return
    settings = own_method(name).settings("discrete")
    what = f"method {name!r}: learner module {settings.learner!r} of {type(settings).__name__}"
    try:
        module = importlib.import_module(settings.learner)
    # Third-party modules may raise anything.
    except Exception as error:
        raise UserError(f"{what} cannot be imported: {describe(error)}") from error
    if not callable(getattr(module, "make_learner", None)):
        raise UserError(
            f"{what} has no make_learner: give it one, such as "
            f"partial(GradientLearner, loss=my_loss)"
        )


def _defects(method: Method) -> Iterator[str]:
    if method.sharing not in get_args(Sharing):
        yield f"has sharing {method.sharing!r}: choose one of {', '.join(get_args(Sharing))}"
    kinds: set[type] = set()
    for kind in get_args(EnvKind):
        try:
            settings: Any = method.settings(kind)
            numbers = [method.default_learners(2), method.default_simulators(kind)]
        # The user's code may raise anything.
        except Exception as error:
            yield f"raised {describe(error)}, for an environment of kind {kind!r}"
            return
        if not isinstance(settings, AlgorithmSettings):
            yield (
                f"has settings of type {type(settings).__name__}: they must be AlgorithmSettings, "
                f"for example of a class derived from ActorCriticSettings"
            )
            return
        if any(type(number) is not int or number < 1 for number in numbers):
            yield f"has learners or simulators that are no positive numbers by default: {numbers}"
        kinds.add(type(settings))
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        yield f"has settings of several classes: {names}; use one for all environments"
    yield from _defects_of_settings(kinds.pop(), method)


def _defects_of_settings(settings: type[AlgorithmSettings], method: Method) -> Iterator[str]:
    what = f"has settings {settings.__name__}"
    if not is_dataclass(settings) or "__dataclass_fields__" not in vars(settings):
        yield f"{what}, which is no dataclass: write @dataclass(frozen=True, kw_only=True) above it"
    for name, example in (("name", "my-algorithm"), ("learner", settings.__module__)):
        if not isinstance(getattr(settings, name, None), str):
            which = "one" if name == "name" else "the module whose make_learner makes learners"
            yield f"{what} without a {name}: set {which}, such as {name} = {example!r}"
    if settings.learner == "__main__":
        yield f"{what} whose learner module is the main program: put it into a module"
    yield from _defects_of_fields(settings, what)
    known = {entry.name for entry in fields(settings)}
    for name in method.paper_settings:
        if name not in known:
            yield f"{what}, which has no {name}, as paper_settings say"


def _defects_of_fields(settings: type[AlgorithmSettings], what: str) -> Iterator[str]:
    try:
        hints = get_type_hints(settings)
    except Exception as error:
        yield f"{what} whose types cannot be read: {describe(error)}"
        return
    for entry in fields(settings):
        if "help" not in entry.metadata:
            yield (
                f"{what} whose {entry.name} has no help text: define it by "
                f"gala_rl.config.settings.setting(default, text)"
            )
        if not _is_option(hints[entry.name]):
            yield (
                f"{what} whose {entry.name} is no option of a command: use bool, int, float, str, "
                f"Literal, or a tuple of numbers or texts"
            )


def _is_option(hint: Any) -> bool:
    element = element_of(hint)
    kinds = {kind for kind in get_args(hint) or (hint,) if kind is not NoneType}
    if element is not None:
        kinds = {element}
    is_plain = len(kinds) == 1 and kinds <= {bool, int, float, str}
    return get_origin(hint) is Literal or is_plain
