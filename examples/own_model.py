"""A network of your own: trained into a RUN, split into a chain and into branches, exported."""

from my_net import Net

import splitplace as sp

if __name__ == "__main__":
    data = sp.fetch("fashionmnist")
    run = sp.train(data, model=Net, epochs=1, samples=2048)
    print(f"{run.path}: {run.metrics.accuracy:.3f} of held-out images")
    chain = sp.export(sp.split(run, fragments=2), "catalog")
    print(chain.location)
