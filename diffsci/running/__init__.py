"""The folder of a run: what it holds, who may write there, what may change, and how a run ends."""
