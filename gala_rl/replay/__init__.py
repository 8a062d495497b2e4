"""Replay storage of off-policy learners; no networks."""

from gala_rl.replay.batches import SampleKeys as SampleKeys
from gala_rl.replay.batches import SequenceBatch as SequenceBatch
from gala_rl.replay.batches import TransitionBatch as TransitionBatch
