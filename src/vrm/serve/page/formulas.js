// The equations of docs/theory.md, by number, on the posterior that `/v1/explain` gives: pure functions, no page.
// A test holds them against the package's own to 1e-6.

const JITTER = 1e-8;

const sum = (values) => values.reduce((total, value) => total + value, 0);
const dot = (one, other) => one.reduce((total, value, k) => total + value * other[k], 0);
const sigmoid = (u) => (u >= 0 ? 1 / (1 + Math.exp(-u)) : Math.exp(u) / (1 + Math.exp(u)));

/** v^T C v for a symmetric matrix C given by rows. */
const form = (matrix, vector) => sum(matrix.map((row, k) => vector[k] * dot(row, vector)));

/** A^T w: decoder (K, d) and weights (K) to (d). */
function direction(decoder, weights) {
  const result = new Array(decoder[0].length).fill(0);
  decoder.forEach((row, k) => row.forEach((value, i) => { result[i] += weights[k] * value; }));
  return result;
}

const keptTilt = (tilt, kept) => tilt && {
  loc: kept.map((k) => tilt.loc[k]),
  covariance: kept.map((k) => kept.map((l) => tilt.covariance[k][l])),
};

/** (13): counts added to the concentration, objectives left out; with the tilts (16) of what remains. */
function steered(posterior, { emphasis = {}, without = [] } = {}) {
  const gone = new Set(without);
  const kept = posterior.objectives.map((_, k) => k).filter((k) => !gone.has(posterior.objectives[k]));
  const names = kept.map((k) => posterior.objectives[k]);
  const concentration = posterior.concentration
    && kept.map((k, place) => posterior.concentration[k] + (emphasis[names[place]] ?? 0));
  const amounts = concentration ?? kept.map((k) => posterior.weights[k]);
  const total = sum(amounts);
  return {
    names,
    concentration,
    mean: amounts.map((value) => value / total),
    total: concentration ? total : Infinity,
    decoder: kept.map((k) => posterior.decoder[k]),
    tilt: keptTilt(posterior.tilt, kept),
    voterTilt: keptTilt(posterior.voter_tilt, kept),
  };
}

/** What objective scores are multiplied by: mean weights, with a rater's tilt. */
const applied = (weights) => weights.mean.map((value, k) => value + (weights.tilt ? weights.tilt.loc[k] : 0));

/** o = A z. */
const objectiveScores = (decoder, loc) => decoder.map((row) => dot(row, loc));

/** (9) and (10) of a reward, or (11) of a margin, whose features have this mean and variance. */
function moments(weights, loc, variance, doubt, tilt = weights.tilt) {
  const scores = objectiveScores(weights.decoder, loc);
  const along = direction(weights.decoder, weights.mean);
  const features = sum(along.map((value, i) => value * value * variance[i]));
  const diagonal = weights.decoder.map((row) => sum(row.map((value, i) => value * value * variance[i])));
  const interaction = Math.max(dot(weights.mean, diagonal) - features, 0) / (weights.total + 1);
  let mean = dot(weights.mean, scores);
  let about = sum(weights.mean.map((value, k) => value * (scores[k] - mean) ** 2)) / (weights.total + 1);
  if (tilt) {
    mean += dot(tilt.loc, scores);
    about += form(tilt.covariance, scores);
  }
  const parts = { features, weights: about, interaction, parameters: doubt };
  return { mean, scores, parts, variance: features + about + interaction + doubt };
}

/** Features of one completion as `moments` takes them. */
const single = (posterior, i) => [
  posterior.loc[i], posterior.variance[i], posterior.doubt ? posterior.doubt[i][i] : 0,
];

/** Features of the difference of two completions. */
function difference(posterior, i, j) {
  const { loc, variance, doubt } = posterior;
  return [
    loc[i].map((value, k) => value - loc[j][k]),
    variance[i].map((value, k) => value + variance[j][k]),
    doubt ? Math.max(doubt[i][i] + doubt[j][j] - 2 * doubt[i][j], 0) : 0,
  ];
}

const rewardMoments = (posterior, weights, i) => moments(weights, ...single(posterior, i));

const marginMoments = (posterior, weights, i, j) => moments(weights, ...difference(posterior, i, j));

/** Draws of w, (draws, K), from the random numbers of `/v1/draws`; the mean alone where nothing is uncertain. */
function weightDraws(weights, noise) {
  const alpha = weights.concentration;
  if (!alpha) return [weights.mean];
  const boost = noise.boosts.length;
  return noise.boosts[0].map((_, draw) => {
    const logs = alpha.map((value, k) => {
      const steps = sum(noise.boosts.map((uniform, step) => uniform[draw][k] / (value + step)));
      return logGamma(value + boost, noise, draw, k) + steps;
    });
    const largest = Math.max(...logs);
    const gammas = logs.map((value) => Math.exp(value - largest));
    const total = sum(gammas);
    return gammas.map((value) => value / total);
  });
}

/** The first accepted proposal for log Gamma(shape), after Marsaglia and Tsang. */
function logGamma(shape, noise, draw, k) {
  const offset = shape - 1 / 3;
  const scale = 1 / Math.sqrt(9 * offset);
  for (let trial = 0; trial < noise.normals.length; trial += 1) {
    const normal = noise.normals[trial][draw][k];
    const root = 1 + scale * normal;
    const logCube = 3 * Math.log(Math.max(root, 1e-3));
    const bound = 0.5 * normal * normal + offset * (1 - root ** 3 + logCube);
    if (root > 1e-3 && noise.log_uniforms[trial][draw][k] < bound) return Math.log(offset) + logCube;
  }
  throw new RangeError("no proposal was accepted");
}

/** A^T w of every draw, which all pairs share. */
const directions = (weights, noise) => weightDraws(weights, noise).map((draw) => direction(weights.decoder, draw));

/** P(i is preferred to j): (8) averaged over draws of w, given by their directions. */
function preference(posterior, weights, alongs, noise, i, j) {
  const [loc, variance, doubt] = difference(posterior, i, j);
  const [points, logs] = noise.nodes[32];
  const shares = logs.map(Math.exp);
  const scores = objectiveScores(weights.decoder, loc);
  const shift = weights.tilt ? dot(weights.tilt.loc, scores) : 0;
  const extra = doubt + (weights.tilt ? form(weights.tilt.covariance, scores) : 0);
  const given = alongs.map((along) => {
    const mean = dot(along, loc) + shift;
    const scale = Math.sqrt(sum(along.map((value, k) => value * value * variance[k])) + extra + JITTER);
    return sum(points.map((point, node) => shares[node] * sigmoid(mean + scale * point)));
  });
  return sum(given) / given.length;
}

/** (15): P(a rater calls i and j a tie), and P(two raters differ). */
function votes(posterior, weights, noise, i, j) {
  const { mean, parts } = moments(weights, ...difference(posterior, i, j), weights.voterTilt);
  const sharedScale = Math.sqrt(parts.features + parts.parameters + JITTER);
  const ownScale = Math.sqrt(parts.weights + parts.interaction + JITTER);
  const threshold = posterior.tie_threshold;
  const [shared, own] = [noise.nodes[32], noise.nodes[16]].map(([points, logs]) => [points, logs.map(Math.exp)]);
  let [tie, differ] = [0, 0];
  shared[0].forEach((g, node) => {
    const given = [0, 0, 0];
    own[0].forEach((point, at) => {
      outcomes(mean + sharedScale * g + ownScale * point, threshold)
        .forEach((value, outcome) => { given[outcome] += own[1][at] * value; });
    });
    tie += shared[1][node] * given[2];
    differ += shared[1][node] * (1 - sum(given.map((value) => value * value)));
  });
  return { tie, disagreement: differ };
}

function outcomes(utility, threshold) {
  if (threshold === null) return [sigmoid(utility), sigmoid(-utility), 0];
  const tie = sigmoid(utility + threshold) * sigmoid(threshold - utility) * -Math.expm1(-2 * threshold);
  return [sigmoid(utility - threshold), sigmoid(-utility - threshold), tie];
}

function logGammaFunction(x) {
  if (x < 20) return logGammaFunction(x + 1) - Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

const logBeta = (a, b) => logGammaFunction(a) + logGammaFunction(b) - logGammaFunction(a + b);

/** The regularized incomplete beta function, by its continued fraction (Lentz). */
function betaDistribution(x, a, b, logNorm) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaDistribution(1 - x, b, a, logNorm);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logNorm) / a;
  const floor = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1;
  let d = 1 / floor(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m < 500; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / floor(1 + even * d);
    c = floor(1 + even / c);
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / floor(1 + odd * d);
    c = floor(1 + odd / c);
    fraction *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return front * fraction;
}

/** Quantile of Beta(a, b), by bisection. */
export function betaQuantile(probability, a, b) {
  const logNorm = logBeta(a, b);
  let [low, high] = [0, 1];
  for (let step = 0; step < 50; step += 1) {
    const middle = (low + high) / 2;
    if (betaDistribution(middle, a, b, logNorm) < probability) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

/** Central interval of a weight: the marginal of a Dirichlet is a Beta; a point where nothing is uncertain. */
function weightInterval(weights, k, level) {
  if (!weights.concentration || weights.names.length === 1) return [weights.mean[k], weights.mean[k]];
  const a = weights.concentration[k];
  return [(1 - level) / 2, (1 + level) / 2].map((p) => betaQuantile(p, a, weights.total - a));
}

/** All that the page shows under a steering. Without `noise`, probabilities, ties and disagreement are null. */
export function evaluate(posterior, steering, noise, level) {
  const weights = steered(posterior, steering);
  const factors = applied(weights);
  const completions = posterior.loc.map((_, i) => {
    const found = rewardMoments(posterior, weights, i);
    return { ...found, contributions: found.scores.map((score, k) => factors[k] * score) };
  });
  const alongs = noise && directions(weights, noise);
  const pairs = posterior.loc.map((_, i) => posterior.loc.map((__, j) => {
    if (i >= j) return null;
    const found = marginMoments(posterior, weights, i, j);
    const contributions = found.scores.map((score, k) => factors[k] * score);
    if (!noise) return { ...found, contributions, probability: null, tie: null, disagreement: null };
    const probability = preference(posterior, weights, alongs, noise, i, j);
    const voted = posterior.knows_ties ? votes(posterior, weights, noise, i, j) : { tie: null, disagreement: null };
    const disagreement = posterior.knows_disagreement ? voted.disagreement : null;
    return { ...found, contributions, probability, tie: voted.tie, disagreement };
  }));
  const intervals = weights.names.map((_, k) => weightInterval(weights, k, level));
  return { weights, factors, intervals, completions, pairs };
}

/** A pair in the order of i and j, whichever of them was computed. */
export function pairOf(view, i, j) {
  if (i < j) return view.pairs[i][j];
  const pair = view.pairs[j][i];
  return {
    ...pair,
    mean: -pair.mean,
    scores: pair.scores.map((value) => -value),
    contributions: pair.contributions.map((value) => -value),
    probability: pair.probability === null ? null : 1 - pair.probability,
  };
}

/** Places of the completions, the best first. */
export const ranking = (view) => view.completions.map((_, i) => i)
  .sort((i, j) => view.completions[j].mean - view.completions[i].mean || i - j);

/**
 * What single change of steering makes a margin turn around: the count that brings it to 0, by objective, the smallest
 * first, and objectives whose absence turns it. `pair` is of this view.
 */
export function turningPoints(view, pair, most) {
  const { names, concentration, mean, tilt } = view.weights;
  const amounts = concentration ?? mean;
  const total = sum(amounts);
  const shift = (skipped) => (tilt ? sum(tilt.loc.map((value, k) => (k === skipped ? 0 : value * pair.scores[k]))) : 0);
  // E[u] = (sum_k alpha_k delta_k + n delta_j) / (total + n) + b . delta under n counts for objective j.
  const weighted = dot(amounts, pair.scores) + total * shift(-1);
  const counts = concentration ? names.map((name, k) => [name, -weighted / (pair.scores[k] + shift(-1))])
    .filter(([, count]) => count > 0 && count <= most).sort(([, one], [, other]) => one - other) : [];
  const without = names.filter((_, k) => {
    const rest = total - amounts[k];
    const margin = (dot(amounts, pair.scores) - amounts[k] * pair.scores[k]) / rest + shift(k);
    return names.length > 1 && margin * pair.mean < 0;
  });
  return { counts, without };
}
