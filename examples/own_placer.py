"""A placer of your own: all fragments of a task on one device, so that nothing crosses a link."""

import numpy as np

import splitplace as sp


class Together:
    """The device with the least work a core that has the memory for the whole task; else the task waits."""

    name = "together"

    def init(self, view):
        """Remembers nothing."""

    def update(self, state, feedback):
        """Learns nothing."""

    def place(self, state, view, requests, rng):
        """A Place or a Wait for every fragment asked for."""
        room, actions = sp.Room(view), []
        waiting_s_D = view.devices.backlog_s_D / view.devices.servers_D
        for request in requests:
            task, n = int(view.tasks.id_T[request.task]), int(view.tasks.n_T[request.task])
            for device in np.argsort(waiting_s_D):
                tried, placed = room.copy(), []
                for fragment in request.fragments:
                    if not tried.fits_on(fragment, device):
                        break
                    placed += [*tried.take(fragment, device), sp.Place(task, fragment, int(device))]
                else:
                    room, actions = tried, [*actions, *placed]
                    work_s = sum(view.fragments.service_s(f, n)[device] for f in request.fragments)
                    waiting_s_D[device] += work_s / view.devices.servers_D[device]
                    break
            else:
                actions += [sp.Wait(task, fragment) for fragment in request.fragments]
        return actions


if __name__ == "__main__":
    layer = sp.parse_policy("layer+random").decider
    done = sp.simulate(sp.Composed(layer, Together()), scenario="measured-50", intervals=20)
    print(f"reward {done.metrics.reward:.3f}, response {done.metrics.response_s.mean:.1f} s")
