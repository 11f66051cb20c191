"""Attribution lag: leads count on the day of the click and become known over the days that follow."""

import numpy as np

from adsml_simulate.delivery import Counts, form_leads
from adsml_simulate.quantiles import binomial_quantile
from adsml_simulate.streams import Stream, generator, uniforms
from adsml_simulate.tree import Tree


def seen(tree: Tree, counts: Counts, *, lag: tuple[float, ...], seed: int, at: int) -> Counts:
    """The counts as known at the end of a day, by index; later days have none.

    Each lead's delay is drawn once, so that what is known never shrinks from one day to the next.
    """
    known = np.cumsum(lag)
    leads = counts.leads.copy()
    rng = generator(seed, Stream.LAG)
    # Thinned from the longest delay down: of the leads known after k + 1 days, known[k] / known[k + 1] were
    # known after k. A click k days ago has gone through the steps down to k.
    for k in range(len(lag) - 2, -1, -1):
        u = uniforms(rng, counts.leads.shape)
        young = slice(max(at - k, 0), None)
        missing = binomial_quantile(u[:, young], leads[:, young], min(1 - known[k] / known[k + 1], 0.95))
        leads[:, young] -= missing
    up_to = np.arange(counts.leads.shape[1]) <= at
    leads *= up_to
    return Counts(
        cents=counts.cents * up_to,
        impressions=counts.impressions * up_to,
        clicks=counts.clicks * up_to,
        leads=leads,
        form_leads=form_leads(tree, leads),
        delivered=counts.delivered & up_to,
    )
