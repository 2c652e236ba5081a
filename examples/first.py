"""Train, split, export, measure, simulate: the whole way on Fashion-MNIST, within minutes."""

import splitplace as sp

if __name__ == "__main__":
    full = sp.train("fashionmnist", epochs=1, samples=4096)
    tree = sp.train("fashionmnist", strategy="semantic", tree=(2,), full=full, epochs=1, samples=4096)
    chain = sp.split(full, fragments=3)
    for source in (full, tree, chain):
        done = sp.export(source, "catalog")
        accuracy = sp.evaluate(done.location).top1
        print(f"{done.reference}: {accuracy:.3f} of held-out images")
    sp.profile("catalog", quick=True)
    run = sp.simulate("mab+least-loaded", demand="catalog", scenario="measured-50", intervals=20)
    print(f"reward {run.metrics.reward:.3f}, deadlines missed {run.metrics.sla_violation:.1%}")
