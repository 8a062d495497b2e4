"""Speed and score of PPO here and elsewhere at equal settings, in turn."""
