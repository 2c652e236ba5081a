"""Data, models and training: from images to a RUN folder that loads back as a `ModuleSplit`."""
