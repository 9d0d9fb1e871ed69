/* Depthwise 3x3x3 convolution with its gradients, and the marginal loss with its gradient, on one core.

   Arrays are float32, channels last: (D, H, W, C), C a multiple of 8. Weights are (27, C), the taps in
   the order of torch's (kd, kh, kw). Padding equals the dilation. See training/fit/cpu/__init__.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef float vec __attribute__((vector_size(32), aligned(4)));
enum { LANES = 8, TAPS = 27, WIDTH = 16 };

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
static inline long out_size(long n, long stride) { return (n - 1) / stride + 1; }

static float *zeros(size_t count) { return calloc(count + 64, sizeof(float)); }

/* Copy as (D, C / 8, H, W, 8) with `p` zeros around: no tap needs a test for the border, and the nine
   rows that eight channels of one row of output need lie close together, in the first cache. */
static float *blocked(const float *x, long D, long H, long W, long C, long p) {
  long H2 = H + 2 * p, W2 = W + 2 * p, B = C / LANES;
  float *to = zeros((size_t)(D + 2 * p) * H2 * W2 * C);
  if (to)
    for (long d = 0; d < D; d++)
      for (long h = 0; h < H; h++) {
        const float *from = x + (d * H + h) * W * C;
        float *row = to + (((d + p) * B * H2 + h + p) * W2 + p) * LANES;
        for (long w = 0; w < W; w++)
          for (long c = 0; c < B; c++)
            store(row + (c * H2 * W2 + w) * LANES, load(from + w * C + c * LANES));
      }
  return to;
}

int depthwise(const float *x, const float *w, float *y, long D, long H, long W, long C, long stride,
              long dilation) {
  float *from = blocked(x, D, H, W, C, dilation);
  if (!from) return 1;
  long H2 = H + 2 * dilation, W2 = W + 2 * dilation, B = C / LANES, step = stride * LANES;
  long Do = out_size(D, stride), Ho = out_size(H, stride), Wo = out_size(W, stride), at[TAPS];
  for (long t = 0; t < TAPS; t++)
    at[t] = ((t / 9 * B * H2 + t / 3 % 3) * W2 + t % 3) * dilation * LANES;
  for (long d = 0; d < Do; d++)
    for (long c = 0; c < B; c++) {
      vec k[TAPS];
      for (long t = 0; t < TAPS; t++) k[t] = load(w + t * C + c * LANES);
      for (long h = 0; h < Ho; h++) {
        const float *row = from + ((d * stride * B + c) * H2 + h * stride) * W2 * LANES;
        float *out = y + (d * Ho + h) * Wo * C + c * LANES;
        long q = 0;
        for (; q + 6 <= Wo; q += 6) { /* six voxels share each weight in its register */
          const float *p = row + q * step;
          vec a[6] = {{0}};
          for (long t = 0; t < TAPS; t++)
            for (int n = 0; n < 6; n++) a[n] += load(p + at[t] + n * step) * k[t];
          for (int n = 0; n < 6; n++) store(out + (q + n) * C, a[n]);
        }
        for (; q < Wo; q++) {
          vec a = {0};
          for (long t = 0; t < TAPS; t++) a += load(row + q * step + at[t]) * k[t];
          store(out + q * C, a);
        }
      }
    }
  free(from);
  return 0;
}

int depthwise_weight_gradient(const float *x, const float *gy, float *gw, long D, long H, long W,
                              long C, long stride, long dilation) {
  float *from = blocked(x, D, H, W, C, dilation);
  if (!from) return 1;
  long H2 = H + 2 * dilation, W2 = W + 2 * dilation, B = C / LANES, step = stride * LANES;
  long Do = out_size(D, stride), Ho = out_size(H, stride), Wo = out_size(W, stride);
  long f = dilation * LANES;
  memset(gw, 0, (size_t)TAPS * C * sizeof(float));
  for (long d = 0; d < Do; d++)
    for (long c = 0; c < B; c++)
      for (long h = 0; h < Ho; h++)
        for (long a = 0; a < 3; a++) {
          const float *g = gy + (d * Ho + h) * Wo * C + c * LANES;
          const float *r0 =
              from + (((d * stride + a * dilation) * B + c) * H2 + h * stride) * W2 * LANES;
          const float *r1 = r0 + dilation * W2 * LANES, *r2 = r1 + dilation * W2 * LANES;
          vec s[9] = {{0}};
          for (long q = 0; q < Wo; q++, g += C, r0 += step, r1 += step, r2 += step) {
            vec k = load(g);
            for (int n = 0; n < 3; n++) {
              s[n] += load(r0 + n * f) * k;
              s[3 + n] += load(r1 + n * f) * k;
              s[6 + n] += load(r2 + n * f) * k;
            }
          }
          for (int n = 0; n < 9; n++) {
            float *to = gw + (a * 9 + n) * C + c * LANES;
            store(to, load(to) + s[n]);
          }
        }
  free(from);
  return 0;
}

/* For strides above 1; at stride 1 it is `depthwise` with the taps reversed. */
int depthwise_input_gradient(const float *gy, const float *w, float *gx, long D, long H, long W,
                             long C, long stride, long dilation) {
  long H2 = H + 2 * dilation, W2 = W + 2 * dilation;
  long Do = out_size(D, stride), Ho = out_size(H, stride), Wo = out_size(W, stride);
  float *to = zeros((size_t)(D + 2 * dilation) * H2 * W2 * C);
  if (!to) return 1;
  for (long d = 0; d < Do; d++)
    for (long h = 0; h < Ho; h++)
      for (long t = 0; t < TAPS; t++) {
        const float *g = gy + (d * Ho + h) * Wo * C, *k = w + t * C;
        float *r = to + (((d * stride + t / 9 * dilation) * H2 + h * stride + t / 3 % 3 * dilation) * W2 +
                         t % 3 * dilation) * C;
        for (long q = 0; q < Wo; q++, g += C, r += stride * C)
          for (long c = 0; c < C; c += LANES) store(r + c, load(r + c) + load(g + c) * load(k + c));
      }
  for (long d = 0; d < D; d++)
    for (long h = 0; h < H; h++)
      memcpy(gx + (d * H + h) * W * C,
             to + (((d + dilation) * H2 + h + dilation) * W2 + dilation) * C,
             (size_t)W * C * sizeof(float));
  free(to);
  return 0;
}

typedef struct { long low, high; float share; } between;

/* The two input places that output n of a x2 upsampling lies between (align_corners=False). */
static inline between places(long n, long size) {
  float x = (n + 0.5f) * 0.5f - 0.5f;
  if (x < 0) x = 0;
  long low = (long)x;
  return (between){low, low + 1 < size ? low + 1 : size - 1, x - low};
}

typedef struct { double overlap[WIDTH], total[WIDTH], truth[WIDTH], entropy, weight; } sums;

/* Marginal cross entropy and Dice of x2 upsampled logits, as training/fit/loss.py, with the gradient by the
   logits. logits, gradient: (d, h, w, count), count at most WIDTH. labels, valid: uint8 (2d, 2h, 2w). classes:
   for each channel its own number, or 0 where its structure is not labelled and counts as background. weights:
   (count), by class. share: weight of the Dice loss. */
int marginal_loss(const float *logits, const unsigned char *labels, const unsigned char *valid,
                  const int *classes, const float *weights, float *gradient, double *value, long d,
                  long h, long w, long count, double share) {
  if (count > WIDTH) return 1;
  long n = d * h * w, D = 2 * d, H = 2 * h, W = 2 * w;
  float *z = zeros((size_t)n * WIDTH), *g = zeros((size_t)n * WIDTH);
  float *row = zeros((size_t)w * WIDTH), *back = zeros((size_t)w * WIDTH);
  int failed = !z || !g || !row || !back;
  sums all = {{0}, {0}, {0}, 0, 0};
  float hit[WIDTH] = {0}, all_over[WIDTH] = {0};
  int is_class[WIDTH] = {0}, class_of[WIDTH] = {0};
  double scale = 0;
  for (int c = 0; c < count; c++) class_of[c] = classes[c], is_class[classes[c]] = 1;
  for (long i = 0; !failed && i < n; i++) {
    for (int c = 0; c < count; c++) z[i * WIDTH + c] = logits[i * count + c];
    for (int c = count; c < WIDTH; c++) z[i * WIDTH + c] = -1e4f;
  }
  for (int pass = 0; !failed && pass < 2; pass++) { /* sums first: every gradient needs them */
    if (pass) {
      int present = 0;
      double dice = 0;
      scale = 1.0 / (all.weight > 1 ? all.weight : 1);
      for (int c = 1; c < count; c++)
        if (is_class[c] && all.truth[c] > 0) {
          present++;
          dice += (2 * all.overlap[c] + 1) / (all.total[c] + 1);
        }
      for (int c = 1; c < count; c++)
        if (is_class[c] && all.truth[c] > 0) {
          double t = all.total[c] + 1;
          hit[c] = (float)(-2.0 / t / present * share);
          all_over[c] = (float)((2 * all.overlap[c] + 1) / (t * t) / present * share);
        }
      *value = all.entropy * scale + (present ? share * (1 - dice / present) : 0);
    }
    for (long i = 0; i < D; i++) {
      between bi = places(i, d);
      sums here = {{0}, {0}, {0}, 0, 0};
      for (long j = 0; j < H; j++) {
        between bj = places(j, h);
        long corner[4] = {(bi.low * h + bj.low) * w, (bi.low * h + bj.high) * w,
                          (bi.high * h + bj.low) * w, (bi.high * h + bj.high) * w};
        float part[4] = {(1 - bi.share) * (1 - bj.share), (1 - bi.share) * bj.share,
                         bi.share * (1 - bj.share), bi.share * bj.share};
        const unsigned char *label = labels + (i * H + j) * W, *in = valid + (i * H + j) * W;
        const float *z0 = z + corner[0] * WIDTH, *z1 = z + corner[1] * WIDTH;
        const float *z2 = z + corner[2] * WIDTH, *z3 = z + corner[3] * WIDTH;
        for (long x = 0; x < w * WIDTH; x++)
          row[x] = part[0] * z0[x] + part[1] * z1[x] + part[2] * z2[x] + part[3] * z3[x];
        if (pass) memset(back, 0, (size_t)w * WIDTH * sizeof(float));
        for (long k = 0; k < W; k++) {
          if (!in[k]) continue;
          between bk = places(k, w);
          float p[WIDTH], most = -1e30f, sum = 0;
          for (int c = 0; c < WIDTH; c++)
            p[c] = (1 - bk.share) * row[bk.low * WIDTH + c] + bk.share * row[bk.high * WIDTH + c];
          for (int c = 0; c < count; c++) most = p[c] > most ? p[c] : most;
          for (int c = 0; c < WIDTH; c++) p[c] = expf(p[c] - most);
          for (int c = 0; c < count; c++) sum += p[c];
          for (int c = 0; c < WIDTH; c++) p[c] /= sum;
          int t = label[k] < count && is_class[label[k]] ? label[k] : 0;
          float q[WIDTH] = {0}; /* of the classes */
          for (int c = 0; c < count; c++) q[class_of[c]] += p[c];
          float own_class = q[t] > 1e-12f ? q[t] : 1e-12f;
          if (!pass) {
            here.entropy += weights[t] * -logf(own_class);
            here.weight += weights[t];
            for (int c = 1; c < count; c++) here.total[c] += q[c];
            if (t) here.overlap[t] += q[t], here.total[t] += 1, here.truth[t] += 1;
            continue;
          }
          float by[WIDTH], mean = 0, own = weights[t] * (float)scale, out[WIDTH] = {0};
          by[0] = 0;
          for (int c = 1; c < count; c++) {
            by[c] = all_over[c] + (c == t ? hit[c] : 0);
            mean += q[c] * by[c];
          }
          for (int c = 0; c < count; c++) {
            float entropy = p[c];
            if (class_of[c] == t) entropy -= p[c] / own_class;
            out[c] = own * entropy + p[c] * (by[class_of[c]] - mean);
          }
          for (int c = 0; c < WIDTH; c++) back[bk.low * WIDTH + c] += (1 - bk.share) * out[c];
          for (int c = 0; c < WIDTH; c++) back[bk.high * WIDTH + c] += bk.share * out[c];
        }
        for (int m = 0; pass && m < 4; m++)
          for (long x = 0; x < w * WIDTH; x++) g[corner[m] * WIDTH + x] += part[m] * back[x];
      }
      if (pass) continue;
      all.entropy += here.entropy;
      all.weight += here.weight;
      for (int c = 0; c < WIDTH; c++) {
        all.overlap[c] += here.overlap[c];
        all.total[c] += here.total[c];
        all.truth[c] += here.truth[c];
      }
    }
  }
  for (long i = 0; !failed && i < n; i++)
    for (int c = 0; c < count; c++) gradient[i * count + c] = g[i * WIDTH + c];
  free(z), free(g), free(row), free(back);
  return failed;
}
