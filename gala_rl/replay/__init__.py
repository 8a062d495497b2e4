"""Replay storage of off-policy learners; no networks."""

from gala_rl.replay.batches import SampleKeys as SampleKeys
from gala_rl.replay.batches import SequenceBatch as SequenceBatch
from gala_rl.replay.batches import TransitionBatch as TransitionBatch
from gala_rl.replay.replay import SequenceReplay as SequenceReplay
from gala_rl.replay.replay import TransitionReplay as TransitionReplay
from gala_rl.replay.settings import ReplaySettings as ReplaySettings
