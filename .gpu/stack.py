"""Train several (alpha, beta) of notebook 21 in one stack; write weights of one's own for each."""
import dataclasses, hashlib, json, os, sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from latentkit import pairs
from latentkit.models import adjusting, weights, convolutions, train
from latentkit.models.components import Components
from latentkit.models.llaae import LLAAE
from latentkit.presets import preset
from latentkit.sources import identity
DEV = "cuda" if torch.cuda.is_available() else "cpu"
T0 = time.time(); LIMIT = float(os.environ.get("LIMIT", "180"))
OUT = Path(os.environ["OUT"]); OUT.mkdir(exist_ok=True)
def say(*a): print(f"{time.time()-T0:6.1f}", *a, flush=True)

def unfolded(self, x):
    x = nn.functional.pad(x, (1, 1, 0, 0), mode="circular" if self.circular else "replicate")
    x = nn.functional.pad(x, (0, 0, 1, 1), mode="replicate")
    s, o, i = self.weight.shape[:3]; n, _, H, W = x.shape; st = self.stride
    h, w = (H - 3) // st + 1, (W - 3) // st + 1
    x = x.view(n, s, i, H, W)
    cols = torch.stack([x[..., a:a + st * (h - 1) + 1:st, b:b + st * (w - 1) + 1:st] for a in range(3) for b in range(3)], 3)  # n s i 9 h w
    cols = cols.permute(1, 2, 3, 0, 4, 5).reshape(s, i * 9, n * h * w)
    out = torch.baddbmm(self.bias[:, :, None], self.weight.reshape(s, o, i * 9), cols)  # s o (n h w)
    return out.view(s, o, n, h, w).permute(2, 0, 1, 3, 4).reshape(n, s * o, h, w)
grouped = convolutions.Convolution.forward

P0 = preset("llaae", "teaching")
psl, pr = pairs.open_pair("archive")
data = [identity(psl), identity(pr)]
cache = {}
def split_of(members):
    if members not in cache:
        days = pairs.split(psl, pr, [0, 1, 2], members=members)
        cache[members] = days, Components(days.proxy, P0.components)
    return cache[members]
say("data")

class Repeated:
    def __init__(self, says, times): self.says, self.times = says, times
    def __call__(self, x): return self.says(x[:3].cpu()).repeat(self.times, 1, 1)

def train_stack(pairs_, P, decay=0.0, limit=60.0):
    days, says = split_of(P.members)
    k = len(pairs_)
    big = dataclasses.replace(days, field=days.field.repeat(k, 1, 1, 1), proxy=days.proxy, tested_field=days.tested_field.repeat(k, 1, 1, 1))
    seeds = [0, 1, 2] * k
    caught = {}
    def obtain(kept, name, ident, fit, retrain=False, bits=8):
        caught["kept"], caught["identity"] = kept, ident
        caught["history"] = fit(kept, None)
        return caught["history"]
    def shuffled(tensors, *a): return train.Shuffled([t.to(DEV) for t in tensors], *a)
    old = adjusting.weights.obtain, adjusting.Shuffled, adjusting.Components, LLAAE.refit
    adjusting.weights = type("W", (), {"obtain": staticmethod(obtain)})
    adjusting.Shuffled = shuffled; adjusting.Components = lambda *a: Repeated(says, k); LLAAE.refit = lambda *a, **b: None
    try:
        t = time.time()
        adjusting.obtain(big, "llaae_published", "convolutional", components=P.components, latent=P.latent, widths=P.widths,
            alpha=[a for a, _ in pairs_ for _ in range(3)], beta=[b for _, b in pairs_ for _ in range(3)], batch=P.batch, passes=P.passes,
            learning_rate=P.learning_rate, decay=decay, seeds=seeds, circular=days.circular, data=data)
    finally:
        adjusting.weights = weights; adjusting.Shuffled, adjusting.Components, LLAAE.refit = old[1:]
    took = time.time() - t
    say(f"{k} pairs, members {P.members}, latent {P.latent}, passes {P.passes}, decay {decay}: {took:.1f} s")
    H = caught["history"]
    for j, (a, b) in enumerate(pairs_):
        ident = json.loads(json.dumps(caught["identity"])) | {"alpha": a, "beta": b, "seeds": [0, 1, 2]}
        key = hashlib.sha256(json.dumps(json.loads(json.dumps(ident)), sort_keys=True).encode()).hexdigest()[:16]
        rows = slice(3 * j, 3 * j + 3)
        part = nn.Module()
        state = {n: v[rows].detach().cpu().clone() for n, v in caught["kept"].state_dict().items()}
        one = LLAAE(days.field.shape[2:], P.components, P.latent, P.widths, [torch.Generator() for _ in range(3)], alpha=a, beta=b, weights=days.area, circular=days.circular)
        kept = nn.ModuleDict({"encoder": one.encoder, "decoder": one.decoder}); kept.load_state_dict(state)
        hist = train.History({n: np.ascontiguousarray(v[:, rows]) for n, v in H.values.items()}, H.every, took / k)
        weights.save(kept, OUT / "w" / weights.own_name("llaae_published", key), ident, hist, bits=8)
    say("saved; losses", {n: np.round(v[-1].reshape(-1, 3).mean(1)[:4], 1).tolist() for n, v in H.values.items() if "tested" in n or n == "reconstruction"})

def speed(k, P):
    days, _ = split_of(P.members)
    best = {}
    for name, f in (("unfolded", unfolded), ("grouped", grouped)):
        convolutions.Convolution.forward = f
        m = LLAAE(days.field.shape[2:], P.components, P.latent, P.widths, [torch.Generator().manual_seed(i) for i in range(3 * k)], weights=days.area, circular=True).to(DEV)
        b = [torch.randn(3 * k, 64, *days.field.shape[2:], device=DEV), torch.randn(3 * k, 64, P.components, device=DEV)]
        rng = [torch.Generator() for _ in range(3 * k)]
        def step():
            m.zero_grad(); l, _ = m.loss(b, 0, rng); l.sum().backward()
            if DEV == "cuda": torch.cuda.synchronize()
        step(); t = time.time()
        for _ in range(2): step()
        best[name] = (time.time() - t) / 2
    name = min(best, key=best.get); convolutions.Convolution.forward = {"unfolded": unfolded, "grouped": grouped}[name]
    say("speed", k, {n: round(v, 4) for n, v in best.items()}, "->", name); return best[name]

if os.environ.get("FAST"):
    whole = adjusting.fit
    adjusting.fit = lambda *a, **k: whole(*a, **(k | {"steps": 2}))
if __name__ == "__main__":
    (OUT / "w").mkdir(exist_ok=True)
    paper = [(1.0, 1.0), (5.0, 0.2), (5.0, 0.5)]
    rest = [(a, b) for a in (0.1, 2.0, 10.0, 1.0, 5.0) for b in (0.2, 1.0, 0.5, 0.05, 2.0) if (a, b) not in paper + [(2.0, 0.5)]]
    grid = paper + rest
    fast = os.environ.get("FAST")
    small = lambda **k: dataclasses.replace(P0, **(k | ({"passes": 1} if fast else {})))
    ref = dict(latent=400, widths=(16, 32, 64), passes=100)
    jobs = [("A", grid, small(), 0.0, 1320 * 2), ("C1", paper + [(2.0, 0.5)], small(members=1, **ref), 0.0, 2260), ("F1", [(2.0, 0.5)], small(members=1, **ref), 1.0, 2260),
            ("E1", [(2.0, 0.5)], small(members=1, passes=100), 0.0, 2260), ("E2", [(2.0, 0.5)], small(members=2, passes=100), 0.0, 4520), ("F2", [(2.0, 0.5)], small(members=2, **ref), 0.0, 4520),
            ("E6", [(2.0, 0.5)], small(passes=100), 0.0, 13500)]
    if fast: jobs = [(n, some[:2], small(members=1), d, 20) for n, some, P, d, _ in jobs[:1]]
    for name, some, P, decay, steps in jobs:
        left = LIMIT - (time.time() - T0)
        k = len(some)
        each = 0.65 * speed(k, P) if not fast else 1
        if fast: convolutions.Convolution.forward = grouped
        while name == "A" and k > 5 and each * steps > 0.62 * left:
            k = k - 4; each = each * k / (k + 4)
        if name != "A" and each * steps * 1.2 > left: say("no time for", name, each * steps, left); continue
        say(name, k, "projected", round(each * steps, 1))
        try: train_stack(some[:k], P, decay)
        except Exception as e: say("FAILED", name, repr(e)[:300])
        if DEV == "cuda": torch.cuda.empty_cache()
    os.system(f"cd {OUT} && tar cf a.tar $(ls w/* | head -n 14) && tar cf b.tar $(ls w/* | tail -n +15 | head -n 14) ; tar cf c.tar $(ls w/* | tail -n +29 | head -n 14); rm -rf w; ls -la")
    say("end")
