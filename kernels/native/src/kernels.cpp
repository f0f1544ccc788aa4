#include "igrt/kernels.h"

#include <algorithm>

// Built without contraction into fused multiply-adds (see CMakeLists.txt): the same bits as the
// Python kernels.

namespace {

using Size = int64_t;

bool rows_in_range(const int64_t *rows, Size row_count, Size jobs) {
  return std::all_of(rows, rows + row_count, [jobs](int64_t j) { return 0 <= j && j < jobs; });
}

// Null is an array only where it has no elements.
template <typename... Pointers>
bool any_null(Size elements, const Pointers *...pointers) {
  return elements != 0 && ((pointers == nullptr) || ...);
}

template <typename Real>
int interpolate(const Real *baselines, const Real *inputs, const int64_t *rows,
                const double *alphas, Real *out, Size jobs, Size row_count, Size features) {
  if (jobs < 0 || row_count < 0 || features < 0) return IGRT_NEGATIVE_SIZE;
  if (any_null(row_count, rows, alphas)) return IGRT_NULL_POINTER;
  if (!rows_in_range(rows, row_count, jobs)) return IGRT_ROW_OUT_OF_RANGE;
  if (row_count == 0 || features == 0) return IGRT_OK;
  if (any_null(features, baselines, inputs, out)) return IGRT_NULL_POINTER;

  // Rows of one job find its baseline and input in the first-level cache.
  const Size block = 4096;
  for (Size low = 0; low < features; low += block) {
    const Size size = std::min(block, features - low);
    for (Size r = 0; r < row_count; ++r) {
      const Real *b = baselines + rows[r] * features + low;
      const Real *x = inputs + rows[r] * features + low;
      Real *point = out + r * features + low;
      // The formula misses an end by a rounding: both are copied.
      if (alphas[r] == 0.0) {
        std::copy_n(b, size, point);
      } else if (alphas[r] == 1.0) {
        std::copy_n(x, size, point);
      } else {
        const Real alpha = static_cast<Real>(alphas[r]);
        for (Size f = 0; f < size; ++f) {
          const Real moved = b[f] + alpha * (x[f] - b[f]);
          point[f] = x[f] == b[f] ? b[f] : moved;
        }
      }
    }
  }
  return IGRT_OK;
}

template <typename Real>
int accumulate(double *sums, const Real *gradients, const int64_t *rows, const double *weights,
               Size jobs, Size rules, Size row_count, Size features) {
  if (jobs < 0 || rules < 0 || row_count < 0 || features < 0) return IGRT_NEGATIVE_SIZE;
  if (any_null(row_count, rows)) return IGRT_NULL_POINTER;
  if (!rows_in_range(rows, row_count, jobs)) return IGRT_ROW_OUT_OF_RANGE;
  if (row_count == 0 || rules == 0) return IGRT_OK;
  if (any_null(row_count, weights)) return IGRT_NULL_POINTER;
  if (features == 0) return IGRT_OK;
  if (any_null(features, sums, gradients)) return IGRT_NULL_POINTER;

  // Sums stay in the first-level cache while the rows stream past.
  const Size block = 2048;
  for (Size low = 0; low < features; low += block) {
    const Size size = std::min(block, features - low);
    for (Size r = 0; r < row_count; ++r) {
      const Real *gradient = gradients + r * features + low;
      for (Size rule = 0; rule < rules; ++rule) {
        const double weight = weights[rule * row_count + r];
        if (weight == 0.0) continue;
        double *sum = sums + (rows[r] * rules + rule) * features + low;
        for (Size f = 0; f < size; ++f) sum[f] += weight * static_cast<double>(gradient[f]);
      }
    }
  }
  return IGRT_OK;
}

template <typename Real>
int multiply_difference(const double *mean_gradients, const Real *inputs, const Real *baselines,
                        double *out, Size jobs, Size features) {
  if (jobs < 0 || features < 0) return IGRT_NEGATIVE_SIZE;
  if (jobs == 0 || features == 0) return IGRT_OK;
  if (any_null(features, mean_gradients, inputs, baselines, out)) return IGRT_NULL_POINTER;

  for (Size i = 0; i < jobs * features; ++i) {
    const double difference = static_cast<double>(inputs[i]) - static_cast<double>(baselines[i]);
    const double product = mean_gradients[i] * difference;
    out[i] = inputs[i] == baselines[i] ? 0.0 : product;
  }
  return IGRT_OK;
}

}  // namespace

const char *igrt_status_message(int status) {
  switch (status) {
    case IGRT_OK:
      return "ok";
    case IGRT_NULL_POINTER:
      return "an array with elements was given as a null pointer";
    case IGRT_NEGATIVE_SIZE:
      return "a size is negative";
    case IGRT_ROW_OUT_OF_RANGE:
      return "an element of rows is negative or not below the number of jobs";
    default:
      return "unknown status";
  }
}

int igrt_interpolate_f32(const float *baselines, const float *inputs, const int64_t *rows,
                         const double *alphas, float *out, int64_t jobs, int64_t row_count,
                         int64_t features) {
  return interpolate(baselines, inputs, rows, alphas, out, jobs, row_count, features);
}

int igrt_interpolate_f64(const double *baselines, const double *inputs, const int64_t *rows,
                         const double *alphas, double *out, int64_t jobs, int64_t row_count,
                         int64_t features) {
  return interpolate(baselines, inputs, rows, alphas, out, jobs, row_count, features);
}

int igrt_accumulate_f32(double *sums, const float *gradients, const int64_t *rows,
                        const double *weights, int64_t jobs, int64_t rules, int64_t row_count,
                        int64_t features) {
  return accumulate(sums, gradients, rows, weights, jobs, rules, row_count, features);
}

int igrt_accumulate_f64(double *sums, const double *gradients, const int64_t *rows,
                        const double *weights, int64_t jobs, int64_t rules, int64_t row_count,
                        int64_t features) {
  return accumulate(sums, gradients, rows, weights, jobs, rules, row_count, features);
}

int igrt_multiply_difference_f32(const double *mean_gradients, const float *inputs,
                                 const float *baselines, double *out, int64_t jobs,
                                 int64_t features) {
  return multiply_difference(mean_gradients, inputs, baselines, out, jobs, features);
}

int igrt_multiply_difference_f64(const double *mean_gradients, const double *inputs,
                                 const double *baselines, double *out, int64_t jobs,
                                 int64_t features) {
  return multiply_difference(mean_gradients, inputs, baselines, out, jobs, features);
}
