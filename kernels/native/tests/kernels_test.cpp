// The kernels against closed forms. No framework: prints what failed, exits 1 if anything did.

#include "igrt/kernels.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

namespace {

int failures = 0;

void check(bool holds, const char *what, int line) {
  if (holds) return;
  std::fprintf(stderr, "line %d: does not hold: %s\n", line, what);
  ++failures;
}

#define CHECK(condition) check((condition), #condition, __LINE__)

const float inf = std::numeric_limits<float>::infinity();
const float nan = std::numeric_limits<float>::quiet_NaN();

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void interpolate_is_exact_at_the_ends() {
  // 1e8 + (0.1 - 1e8) is 0 in float32, so the formula alone would miss the end by everything.
  const std::vector<float> b = {1e8f, -0.0f, 0.0f, inf, 3.0f};
  const std::vector<float> x = {0.1f, 0.0f, -0.0f, 1.0f, -inf};
  const int64_t rows[] = {0, 0};
  const double alphas[] = {0.0, 1.0};
  std::vector<float> out(10, nan);
  CHECK(igrt_interpolate_f32(b.data(), x.data(), rows, alphas, out.data(), 1, 2, 5) == IGRT_OK);
  for (int f = 0; f < 5; ++f) {
    CHECK(same_bits(out[f], b[f]));
    CHECK(same_bits(out[5 + f], x[f]));
  }
}

void interpolate_follows_the_line() {
  // Powers of two: every operation is exact, so is the comparison. More features than one block.
  const int64_t features = 10000;
  std::vector<double> b(2 * features), x(2 * features);
  for (int64_t f = 0; f < 2 * features; ++f) {
    b[f] = static_cast<double>(f);
    x[f] = static_cast<double>(f) + 8.0;
  }
  const int64_t rows[] = {1, 0, 1};
  const double alphas[] = {0.25, 0.5, 0.75};
  std::vector<double> out(3 * features, -1.0);
  CHECK(igrt_interpolate_f64(b.data(), x.data(), rows, alphas, out.data(), 2, 3, features) ==
        IGRT_OK);
  bool right = true;
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t f = 0; f < features; ++f)
      right = right && out[r * features + f] ==
                           static_cast<double>(rows[r] * features + f) + 8.0 * alphas[r];
  CHECK(right);
}

void interpolate_leaves_equal_infinities_in_place() {
  const float b[] = {-inf, inf}, x[] = {-inf, inf};
  const int64_t rows[] = {0};
  const double alphas[] = {0.3};
  float out[] = {0.0f, 0.0f};
  CHECK(igrt_interpolate_f32(b, x, rows, alphas, out, 1, 1, 2) == IGRT_OK);
  CHECK(out[0] == -inf && out[1] == inf);
}

void accumulate_sums_the_rows_of_each_job() {
  // sum of r over the rows of a job, times the feature: integers, exact in double.
  const int64_t features = 5000, count = 6;
  const int64_t rows[] = {1, 0, 1, 1, 0, 1};
  std::vector<float> gradients(count * features);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t f = 0; f < features; ++f) gradients[r * features + f] = static_cast<float>(r * f);
  const std::vector<double> weights = {1, 1, 1, 1, 1, 1, 0.5, 0, 0, 0, 0, 2};
  std::vector<double> sums(2 * 2 * features, 1.0);
  CHECK(igrt_accumulate_f32(sums.data(), gradients.data(), rows, weights.data(), 2, 2, count,
                            features) == IGRT_OK);
  const double factors[] = {1 + 4, 0, 0 + 2 + 3 + 5, 2 * 5};  // [job, rule]
  bool right = true;
  for (int64_t k = 0; k < 4; ++k)
    for (int64_t f = 0; f < features; ++f)
      right = right && sums[k * features + f] == 1.0 + factors[k] * static_cast<double>(f);
  CHECK(right);
}

void accumulate_skips_zero_weights() {
  const double gradients[] = {2.0, nan, inf};
  const int64_t rows[] = {0, 0, 0};
  const double weights[] = {1.0, 0.0, -0.0, 0.0, 1.0, 0.0};
  double sums[] = {0.0, 0.0};
  CHECK(igrt_accumulate_f64(sums, gradients, rows, weights, 1, 2, 3, 1) == IGRT_OK);
  CHECK(sums[0] == 2.0);
  CHECK(std::isnan(sums[1]));
}

void multiply_difference_is_zero_where_nothing_moved() {
  const double mean[] = {nan, inf, 0.5, 2.0};
  const float x[] = {1.0f, inf, 16777216.0f, 3.0f}, b[] = {1.0f, inf, -1.0f, 1.0f};
  double out[] = {-1.0, -1.0, -1.0, -1.0};
  CHECK(igrt_multiply_difference_f32(mean, x, b, out, 2, 2) == IGRT_OK);
  CHECK(out[0] == 0.0 && out[1] == 0.0);
  CHECK(out[2] == 0.5 * 16777217.0);  // not a float32: the difference must be taken in double
  CHECK(out[3] == 4.0);

  double in_place[] = {3.0};
  const double four[] = {4.0}, one[] = {1.0};
  CHECK(igrt_multiply_difference_f64(in_place, four, one, in_place, 1, 1) == IGRT_OK);
  CHECK(in_place[0] == 9.0);
}

void bad_arguments_are_named() {
  const float a[] = {1.0f};
  float out[] = {7.0f};
  const int64_t row[] = {0}, below[] = {-1}, above[] = {1};
  const double alpha[] = {0.5};
  double sums[] = {7.0};
  CHECK(igrt_interpolate_f32(nullptr, a, row, alpha, out, 1, 1, 1) == IGRT_NULL_POINTER);
  CHECK(igrt_interpolate_f32(a, a, nullptr, alpha, out, 1, 1, 1) == IGRT_NULL_POINTER);
  CHECK(igrt_interpolate_f32(a, a, row, alpha, out, 1, 1, -1) == IGRT_NEGATIVE_SIZE);
  CHECK(igrt_interpolate_f32(a, a, below, alpha, out, 1, 1, 1) == IGRT_ROW_OUT_OF_RANGE);
  CHECK(igrt_interpolate_f32(a, a, above, alpha, out, 1, 1, 1) == IGRT_ROW_OUT_OF_RANGE);
  CHECK(igrt_interpolate_f32(nullptr, nullptr, nullptr, nullptr, nullptr, 0, 0, 0) == IGRT_OK);
  CHECK(igrt_accumulate_f32(nullptr, a, row, alpha, 1, 1, 1, 1) == IGRT_NULL_POINTER);
  CHECK(igrt_accumulate_f32(sums, a, row, nullptr, 1, 1, 1, 1) == IGRT_NULL_POINTER);
  CHECK(igrt_accumulate_f32(sums, a, above, alpha, 1, 1, 1, 1) == IGRT_ROW_OUT_OF_RANGE);
  CHECK(igrt_accumulate_f32(sums, a, row, alpha, 1, -1, 1, 1) == IGRT_NEGATIVE_SIZE);
  CHECK(igrt_multiply_difference_f32(alpha, a, a, nullptr, 1, 1) == IGRT_NULL_POINTER);
  CHECK(igrt_multiply_difference_f32(alpha, a, a, sums, -1, 1) == IGRT_NEGATIVE_SIZE);
  CHECK(out[0] == 7.0f && sums[0] == 7.0);  // nothing was written
  for (int status = -1; status < 6; ++status) CHECK(std::strlen(igrt_status_message(status)) > 0);
}

}  // namespace

int main() {
  interpolate_is_exact_at_the_ends();
  interpolate_follows_the_line();
  interpolate_leaves_equal_infinities_in_place();
  accumulate_sums_the_rows_of_each_job();
  accumulate_skips_zero_weights();
  multiply_difference_is_zero_where_nothing_moved();
  bad_arguments_are_named();
  if (failures == 0) std::puts("all hold");
  return failures == 0 ? 0 : 1;
}
