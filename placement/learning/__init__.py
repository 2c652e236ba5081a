"""The training workflow of §6.3: `policy train` asks each learner of the registry; what was learned, shown."""
