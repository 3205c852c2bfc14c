// Bead kernels: from a gray image as it lies in a frame to x, y, z and a figure of quality.
//
// Pixel (0, 0) has its centre at x = 0, y = 0. The plain, slow twin of every stage stands in
// src/marey/processors/reference.py, with the sources of the formulas; the tests compare the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace marey::beads {

/// A gray image inside a frame; strides count pixels.
template <class T>
struct View {
    const T *data;
    std::ptrdiff_t height, width, row, column;
};

/// A region as floats, small enough for the first cache.
struct Tile {
    std::vector<float> pixels;
    int width = 0, height = 0, stride = 0;

    void shape(int new_width, int new_height);
    const float *row(int y) const { return pixels.data() + std::ptrdiff_t(y) * stride; }
    float *row(int y) { return pixels.data() + std::ptrdiff_t(y) * stride; }
};

struct Point {
    double x, y;
};

struct Level {
    float median, spread;
};

/// How the tracker ended for one bead; the numbers are part of the rows that it publishes.
enum class Status : std::uint8_t {
    ok = 0,
    border = 1,        ///< the region or the rings leave the frame
    no_signal = 2,     ///< nothing round there
    lost = 3,          ///< the search for the centre ran out of the region
    saturated = 4,     ///< x and y hold, z does not
    out_of_table = 5,  ///< x and y hold; z is beyond the table, or nothing in it is alike
};

/// Copy pixels [left, left + width) x [top, top + height), which must lie inside, less `offset`.
template <class T>
void cut(const View<T> &image, std::ptrdiff_t left, std::ptrdiff_t top, int width, int height,
         float offset, Tile &out);

/// Median of the outermost pixels, and their mean distance from it times 1.2533: the standard
/// deviation, were they distributed normally.
Level border_level(const Tile &tile, std::vector<float> &scratch);

/// Centre of mass of max(0, |I - level| - floor) over every second row; false where no pixel is
/// above the floor.
bool centre_of_mass(const Tile &tile, float level, float floor, Point &centre,
                    std::vector<float> &scratch);

/// The point about which a band of rows and a band of columns are most like their mirror images:
/// searched within an eighth of the tile from its middle; the bands cross near `centre`. False where
/// the best candidate is the outermost one, or nothing varies.
bool mirror_centre(const Tile &tile, Point &centre, std::vector<float> &scratch);

/// One Gauss-Newton step of the centre towards the best fit of the image by its own profile.
struct Fit {
    Point shift;
    float quality;    ///< share of the variance about the bead that its rings explain
    float saturated;  ///< share of the pixels that are saturated
};

/// The pixels about a bead, sorted by their distance from its middle pixel.
///
/// The radial profile is the mean intensity at the radii 0, step, 2 step ...: a pixel between two
/// radii counts for both, in proportion (its weight is a tent about each radius). As the pixels of
/// one ring can bear on four radii only, every loop over them runs in vectors.
class Rings {
public:
    /// `step` is at least 0.75 px, `radii` at least 3.
    Rings(float step, int radii);

    int radii() const { return radii_; }
    float step() const { return step_; }
    /// Pixels that the image must have on every side of the middle pixel.
    int reach() const { return reach_; }

    /// Take the pixels about the middle pixel (x, y), less `level`.
    template <class T>
    void gather(const View<T> &image, std::ptrdiff_t x, std::ptrdiff_t y, float level);
    /// Profile about the centre (x, y), counted from the middle pixel: at most half a px each.
    void profile(double x, double y);
    /// Pixels of `saturation` or more (less `level`) count as saturated.
    Fit fit(float saturation);

    std::span<const float> mean() const;
    std::span<const float> weight() const;
    /// Use this profile instead of the one that `profile` found.
    void set_profile(std::span<const float> mean);

private:
    void find_slopes();

    float step_, x_ = 0, y_ = 0;
    int radii_, reach_;
    std::ptrdiff_t row_ = 0, column_ = 0;
    std::vector<int> starts_;
    std::vector<std::int32_t> offset_;
    std::vector<float> dx_, dy_, value_, distance_;
    std::vector<float> weight_, sum_, mean_, slope_, known_;
};

/// Profiles at known heights, prepared for comparison.
class RadialTable {
public:
    /// `profiles` is (heights, radii); `z` ascends; at least 4 heights and 3 radii.
    RadialTable(std::span<const float> profiles, std::span<const double> z);

    int heights() const { return int(z_.size()); }
    int radii() const { return radii_; }

    struct Match {
        double z;
        float likeness;  ///< correlation coefficient of the two profiles
        bool inside;
    };
    /// The height at which the table is most like `profile`, of which `radii` values hold.
    Match match(std::span<const float> profile) const;

private:
    Match refine(const std::vector<float> &rows, std::span<const float> profile, int radii) const;
    int radii_;
    std::vector<double> z_;
    std::vector<float> raw_, prepared_;
};

struct Method {
    int size = 64;             ///< side of a region, px
    float step = 1.0F;         ///< distance between two radii of the profile, px
    int radii = 31;            ///< radii of the profile
    float min_quality = 0.1F;  ///< below: no signal
    float min_likeness = 0.7F; ///< of the profile and the table; below: out of table
    float saturation = 0.0F;   ///< pixels of this value or more are saturated; 0: never
};

struct Bead {
    double x, y, z;
    float quality;
    Status status;
};

/// Everything that tracking one bead needs, kept between beads so that nothing is allocated.
struct Workspace {
    Tile tile;
    std::vector<float> scratch;
    std::vector<Rings> rings;  ///< few: full circles, and smaller ones near the edge of the frame

    Rings &of(float step, int radii);
};

/// Track the bead whose region is centred at `start`; `profile` takes `method.radii` values of
/// intensity above background (NaN where not measured), unless it is empty.
template <class T>
Bead track(const View<T> &image, Point start, const Method &method, const RadialTable *table,
           Workspace &work, std::span<float> profile);

/// Votes of all pixels along their gradient, both ways, from `nearest` to `farthest` px: high where
/// many edges are round about one point. `votes` is (height, width).
template <class T>
void ring_votes(const View<T> &image, int nearest, int farthest, float *votes);

struct Peak {
    float x, y, height;
};

/// Pixels above `threshold` that are the greatest within `separation`, highest first; those nearer
/// than `margin` to the edge are left out.
std::vector<Peak> peaks(const float *map, int height, int width, float threshold, float separation,
                        int margin, std::size_t most);

/// Binomial smoothing (5 x 5) less the mean over `box` x `box` pixels, times `sign`, not below 0.
/// Rows must hold their pixels side by side. `out` is (height, width).
template <class T>
void bandpass(const View<T> &image, int box, float sign, float *out);

struct Spot {
    double x, y;
    float mass, size;
};

/// Centroid, sum and radius of gyration of `map` within `radius` of each peak (Crocker & Grier).
std::vector<Spot> centroids(const float *map, int height, int width,
                            const std::vector<Peak> &found, float radius);

/// Luma (ITU-R BT.601) of an RGB image, as the mean of the channels weighted 77, 150, 29 / 256.
template <class T>
void luma(const T *rgb, std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t row, T *out);

}  // namespace marey::beads
