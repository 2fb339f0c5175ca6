"""The evaluation stage: forecasts and truth side by side, baselines, calibration, the table."""
