"""The control protocol: what a node and its orchestrator say to each other on the control socket, a class per message.

| message | who says it | when | what answers it |
| --- | --- | --- | --- |
| `here` | the node | first, once its death watch runs; which remotemedia it has | `hello`, if it is the same |
| `hello` | the orchestrator | as the answer to `here` | `progress`, then `unconnected` or `ready` |
| `progress` | the node | any number of times until it is `ready`; later ones count for nothing | |
| `warning` | the node | until it is `ready`: its script did something again | |
| `unconnected` | the node | after `initialize()`, if `hello` brought no channels | `connect` |
| `connect` | the orchestrator | once there are channels | `ready` |
| `ready` | the node | when its channels are mapped | `start`, once every node is ready |
| `failed` | the node | until it is `ready`: it cannot be; then it exits | `stop`, to all |
| `start` | the orchestrator | once, when every node is ready | |
| `error` | the node | when it is `ready`: a call of the user's code failed | |
| `retried` | the node | when it is `ready`: a call failed for a message, and is made again | |
| `interrupt` | the orchestrator | at any time after `start` | `interrupted`, with the same epoch |
| `interrupted` | the node | when nothing that was cut off will come out of it any more | |
| `ask_interrupt` | the node | when it is `ready`: it wants others interrupted | `asked_interrupt`, of that number |
| `asked_interrupt` | the orchestrator | when that is done, or cannot be | |
| `stop` | the orchestrator | once, at any time | the node's exit |

A message is an object of JSON whose ``type`` is its name here. What a node says is checked when it is read, because a
node may say anything; out of turn it is an error. These are named tuples because dataclasses take a node's start five
times as long to make.
"""

from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "LOADING_STATES",
    "Connect",
    "Failed",
    "FromNode",
    "Hello",
    "Here",
    "Interrupt",
    "InterruptAnswered",
    "InterruptAsked",
    "Interrupted",
    "MessageFailed",
    "MessageRetried",
    "Progress",
    "Ready",
    "Start",
    "Stop",
    "ToNode",
    "Unconnected",
    "Warned",
    "as_json",
    "from_node",
    "kind_said",
    "name_of",
    "said_in",
    "to_node",
]

LOADING_STATES: Final = ("starting", "loading", "connecting")

_WARNING_CHARS = 4_000
_VERSION_CHARS = 100


class Here(NamedTuple):
    """The process is there, and takes descriptors; which remotemedia it has, and which layout of shared memory."""

    version: str = ""
    abi: int = 0

    def checked(self) -> "Here":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        return Here(str(self.version)[:_VERSION_CHARS], int(self.abi))


class Progress(NamedTuple):
    """How far its start is: ``progress`` from 0 to 1, in one of the loading states."""

    status: str
    progress: float
    message: str | None = None

    def checked(self) -> "Progress":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        progress = float(self.progress)
        if self.status not in LOADING_STATES or not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress {progress} of status {self.status!r}")
        return Progress(self.status, progress, None if self.message is None else str(self.message))


class Warned(NamedTuple):
    """Something that the user should know of the script that was run again."""

    text: str

    def checked(self) -> "Warned":
        """Its text, cut to what a log line takes."""
        return Warned(str(self.text)[:_WARNING_CHARS])


class Unconnected(NamedTuple):
    """It is initialized and has no channels yet."""


class Ready(NamedTuple):
    """It waits for ``start``."""


class Failed(NamedTuple):
    """It cannot become ready."""

    reason: str
    traceback: str
    out_of_memory: bool

    def checked(self) -> "Failed":
        """With each field of its type."""
        return Failed(str(self.reason), str(self.traceback), bool(self.out_of_memory))


class MessageFailed(NamedTuple):
    """User code raised: ``process()`` for the message ``sequence`` on ``port``, or, with -1, the hook named there; that
    message is of these turns of the session."""

    reason: str
    traceback: str
    out_of_memory: bool
    sequence: int
    port: str
    turns: list[int] = []  # noqa: RUF012 - a field's default, never changed

    def checked(self) -> "MessageFailed":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        failed = Failed(self.reason, self.traceback, self.out_of_memory).checked()
        if not isinstance(self.turns, list):
            raise TypeError("turns must be a list")
        return MessageFailed(*failed, int(self.sequence), str(self.port), [int(one) for one in self.turns])


class MessageRetried(NamedTuple):
    """``process()`` or ``on_mark()`` raised for the message ``sequence`` on ``port``, and gets it once more."""

    reason: str
    traceback: str
    sequence: int
    port: str

    def checked(self) -> "MessageRetried":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        return MessageRetried(str(self.reason), str(self.traceback), int(self.sequence), str(self.port))


class Interrupted(NamedTuple):
    """Nothing that was cut off up to this epoch will come out of it any more."""

    epoch: int

    def checked(self) -> "Interrupted":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        return Interrupted(int(self.epoch))


class InterruptAsked(NamedTuple):
    """It wants an interruption from these nodes on, and numbers what it asks for."""

    number: int
    from_nodes: list[str]
    drop_queued: bool

    def checked(self) -> "InterruptAsked":
        """With each field of its type. ValueError, TypeError or OverflowError if one makes no sense."""
        if not isinstance(self.from_nodes, list):
            raise TypeError("from_nodes must be a list")
        return InterruptAsked(int(self.number), [str(one) for one in self.from_nodes], bool(self.drop_queued))


class Hello(NamedTuple):
    """What the process is: its node's class and config, its channels if there are any yet, what it does on failures."""

    node_class: dict[str, Any]
    config: dict[str, Any]
    extra_paths: list[str]
    use_uvloop: bool
    handover: dict[str, Any] | None = None
    rlimit_data_bytes: int | None = None
    retries: int = 0
    failure_marks: bool = False


class Connect(NamedTuple):
    """The node's channels; their descriptors come beside it."""

    handover: dict[str, Any]


class Start(NamedTuple):
    """Messages may be processed."""


class Interrupt(NamedTuple):
    """Give up what was cut off up to this epoch, by a cut of these nodes; by output, what was heard."""

    epoch: int
    nodes: int = 0
    heard: dict[str, Any] = {}  # noqa: RUF012 - a field's default, never changed


class InterruptAnswered(NamedTuple):
    """The interruption that the node asked for under this number is done, or ``why`` it is not."""

    number: int
    why: str


class Stop(NamedTuple):
    """Drain and end, or, with ``abort``, end without draining."""

    abort: bool = False


FromNode: TypeAlias = (
    Here
    | Progress
    | Warned
    | Unconnected
    | Ready
    | Failed
    | MessageFailed
    | MessageRetried
    | Interrupted
    | InterruptAsked
)
ToNode: TypeAlias = Hello | Connect | Start | Interrupt | InterruptAnswered | Stop

_FROM_NODE: Final[dict[str, type[Any]]] = {
    "here": Here,
    "progress": Progress,
    "warning": Warned,
    "unconnected": Unconnected,
    "ready": Ready,
    "failed": Failed,
    "error": MessageFailed,
    "retried": MessageRetried,
    "interrupted": Interrupted,
    "ask_interrupt": InterruptAsked,
}
_TO_NODE: Final[dict[str, type[Any]]] = {
    "hello": Hello,
    "connect": Connect,
    "start": Start,
    "interrupt": Interrupt,
    "asked_interrupt": InterruptAnswered,
    "stop": Stop,
}
_SAID_IN: Final[dict[type, tuple[str, ...]]] = {
    Warned: LOADING_STATES,
    Failed: LOADING_STATES,
    MessageFailed: ("ready",),
    MessageRetried: ("ready",),
    Interrupted: ("ready",),
    InterruptAsked: ("ready",),
}
_NAMES: Final = {kind: name for name, kind in (_FROM_NODE | _TO_NODE).items()}


def name_of(message: FromNode | ToNode | type) -> str:
    """The message's name on the wire."""
    return _NAMES[message if isinstance(message, type) else type(message)]


def as_json(message: FromNode | ToNode) -> dict[str, Any]:
    """As an object of JSON."""
    return {"type": name_of(message), **message._asdict()}


def said_in(kind: type[FromNode], status: str) -> bool:
    """Whether a node in this state may say it. What is said once, in an order of its own, may be said in any."""
    return status in _SAID_IN.get(kind, (status,))


def kind_said(raw: dict[str, Any]) -> type[FromNode]:
    """Which message of a node it is. ValueError if it is not one."""
    return _kind(raw, _FROM_NODE)


def from_node(raw: dict[str, Any]) -> FromNode:
    """What a node said, checked. ValueError, TypeError or OverflowError if it makes no sense."""
    message: Any = _read(raw, _FROM_NODE)
    return message.checked() if message._fields else message  # type: ignore[no-any-return]


def to_node(raw: dict[str, Any]) -> ToNode:
    """What the orchestrator said. ValueError if it makes no sense."""
    return _read(raw, _TO_NODE)  # type: ignore[no-any-return]


def _kind(raw: dict[str, Any], kinds: dict[str, type[Any]]) -> type[Any]:
    name = raw["type"]
    if name not in kinds:
        raise ValueError(f"type {name!r}")
    return kinds[name]


def _read(raw: dict[str, Any], kinds: dict[str, type[Any]]) -> Any:
    kind = _kind(raw, kinds)
    values = {**kind._field_defaults, **raw}
    if missing := [field for field in kind._fields if field not in values]:
        raise ValueError(f"{raw['type']!r} without its {', '.join(missing)}")
    return kind(*[values[field] for field in kind._fields])  # its other fields are not our business
