"""Class accuracy: would someone who learnt from real data take a sample for its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import ConfigError
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy(Score):
    """Share of members that a logistic regression trained on real data takes for their class.

    Args:
        penalty: Inverse strength of the regression's ridge penalty, on features of mean variance 1.
    """

    penalty: float = 0.1
    goal = "higher"
    bounds = (0.0, 1.0)
    scope = "set"
    needs_labels = True
    needs_train = True

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Share of each case's members recognised as the case's class."""
        if pairs.labels is None or pairs.train is None or pairs.train_labels is None:
            raise ConfigError(
                "class_accuracy: needs the class of each case and of each training example; "
                "leave it out of evaluate.scores for data without classes"
            )
        # Imported here: reading a pipeline file must not cost the second this takes.
        from sklearn.linear_model import LogisticRegression

        train = pairs.train.reshape(len(pairs.train), -1).astype(np.float64)
        centre, scale = train.mean(axis=0), np.sqrt(train.var(axis=0).mean()) or 1.0
        judge = LogisticRegression(C=self.penalty, max_iter=5000)
        judge.fit((train - centre) / scale, pairs.train_labels)
        cases, count = pairs.members.shape[:2]
        members = pairs.members.reshape(cases * count, -1)
        found = judge.predict((members - centre) / scale).reshape(cases, count)
        return np.asarray((found == pairs.labels[:, None]).mean(axis=1, dtype=np.float64))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"
