"""The training workflow of §6.3: `policy train` collects traces, trains what learns and tunes what is tuned."""
