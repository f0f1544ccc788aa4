/* Kernels of the attribution loop in C, the same as the Python package igrt.kernels.
 *
 * Arrays are row-major and contiguous, features flattened to one axis. Nothing is allocated and
 * nothing is kept: the functions may be called from any number of threads, as long as no two write
 * to the same array.
 *
 * Sizes: jobs (one input and one baseline each), row_count (rows: one point on one job's path
 * each), rules (embedded quadrature rules), features. Every function returns IGRT_OK or says which
 * argument is wrong, having written nothing. Pointers may be null only if their array has no
 * elements.
 */
#ifndef IGRT_KERNELS_H
#define IGRT_KERNELS_H

#include <stdint.h>

#if defined(_WIN32) && defined(IGRT_SHARED)
#if defined(IGRT_BUILDING)
#define IGRT_API __declspec(dllexport)
#else
#define IGRT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define IGRT_API __attribute__((visibility("default")))
#else
#define IGRT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a function returns. The numbers are part of the interface and stay. */
typedef enum igrt_status {
  IGRT_OK = 0,
  IGRT_NULL_POINTER = 1,     /**< an array with elements was given as a null pointer */
  IGRT_NEGATIVE_SIZE = 2,    /**< a size is negative */
  IGRT_ROW_OUT_OF_RANGE = 3  /**< an element of rows is negative, or not below jobs */
} igrt_status;

/** The meaning of a status in English; a static string, never null, whatever the number. */
IGRT_API const char *igrt_status_message(int status);

/** Writes the points of straight paths.
 *
 * out[r, f] = b + alphas[r] (x - b)  with  b = baselines[rows[r], f],  x = inputs[rows[r], f]
 *
 * alphas[r] = 0 gives b and alphas[r] = 1 gives x, bit for bit; x = b gives b at every alpha, at
 * infinities too.
 *
 * baselines, inputs: [jobs, features]; rows, alphas: [row_count]; out: [row_count, features], not
 * overlapping with the others.
 */
IGRT_API int igrt_interpolate_f32(const float *baselines, const float *inputs, const int64_t *rows,
                                  const double *alphas, float *out, int64_t jobs,
                                  int64_t row_count, int64_t features);
IGRT_API int igrt_interpolate_f64(const double *baselines, const double *inputs,
                                  const int64_t *rows, const double *alphas, double *out,
                                  int64_t jobs, int64_t row_count, int64_t features);

/** Adds weighted gradients to the sums of their jobs, in double, in the order of the rows.
 *
 * sums[rows[r], l, f] += weights[l, r] gradients[r, f]
 *
 * A weight of zero skips its gradient, so that its infinity or NaN stays out.
 *
 * sums: [jobs, rules, features], not overlapping with the others; gradients: [row_count, features];
 * rows: [row_count]; weights: [rules, row_count].
 */
IGRT_API int igrt_accumulate_f32(double *sums, const float *gradients, const int64_t *rows,
                                 const double *weights, int64_t jobs, int64_t rules,
                                 int64_t row_count, int64_t features);
IGRT_API int igrt_accumulate_f64(double *sums, const double *gradients, const int64_t *rows,
                                 const double *weights, int64_t jobs, int64_t rules,
                                 int64_t row_count, int64_t features);

/** Turns mean gradients along the path into attributions, in double.
 *
 * out[j, f] = mean_gradients[j, f] (inputs[j, f] - baselines[j, f])
 *
 * Where the input equals the baseline, out is exactly 0, even if the mean gradient is infinite or
 * NaN.
 *
 * All arrays: [jobs, features]; out may be mean_gradients.
 */
IGRT_API int igrt_multiply_difference_f32(const double *mean_gradients, const float *inputs,
                                          const float *baselines, double *out, int64_t jobs,
                                          int64_t features);
IGRT_API int igrt_multiply_difference_f64(const double *mean_gradients, const double *inputs,
                                          const double *baselines, double *out, int64_t jobs,
                                          int64_t features);

#ifdef __cplusplus
}
#endif

#endif
