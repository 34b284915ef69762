// Faiss HNSW as a driver: `faiss flat` keeps float32 vectors, `faiss sq8` trained 8-bit codes (QT_8bit) without rescoring.
//
// Debian builds Faiss for any amd64 machine, without the SIMD code a build from source would choose. To compare graphs and
// codes rather than build flags, the driver replaces the distance functions of the storage, by the library's own virtual
// get_FlatCodesDistanceComputer, with loops that are compiled for this machine; the arithmetic is Faiss's.
//
// A search hands all queries to one call on one OpenMP thread: Faiss makes a visited table of one byte a row in every call, which
// a call a query would pay each time.
#include "protocol.h"

#include <memory>

#include <omp.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexScalarQuantizer.h>

namespace {

float l2(const float* __restrict a, const float* __restrict b, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

float dot(const float* __restrict a, const float* __restrict b, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) sum += a[i] * b[i];
  return sum;
}

// Codes stand for offset + code * scale; the query has the offset taken off, or times the scale, beforehand.
float l2_code(const float* __restrict q, const uint8_t* __restrict code, const float* __restrict scale, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) {
    const float t = q[i] - static_cast<float>(static_cast<int>(code[i])) * scale[i];
    sum += t * t;
  }
  return sum;
}

float dot_code(const float* __restrict q, const uint8_t* __restrict code, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) sum += q[i] * static_cast<float>(static_cast<int>(code[i]));
  return sum;
}

float l2_codes(const uint8_t* __restrict a, const uint8_t* __restrict b, const float* __restrict scale, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) {
    const float t = static_cast<float>(static_cast<int>(a[i]) - static_cast<int>(b[i])) * scale[i];
    sum += t * t;
  }
  return sum;
}

float dot_codes(const uint8_t* __restrict a, const uint8_t* __restrict b, const float* __restrict scale,
                           const float* __restrict offset, size_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < d; i++) {
    sum += (offset[i] + static_cast<float>(static_cast<int>(a[i])) * scale[i]) *
           (offset[i] + static_cast<float>(static_cast<int>(b[i])) * scale[i]);
  }
  return sum;
}

class FlatDistance : public faiss::FlatCodesDistanceComputer {
 public:
  FlatDistance(const faiss::IndexFlat& index, bool inner_product)
      : FlatCodesDistanceComputer(index.codes.data(), index.code_size), dim_(index.d), inner_product_(inner_product) {}
  void set_query(const float* x) override { query_ = x; }
  float distance_to_code(const uint8_t* code) override { return distance(query_, reinterpret_cast<const float*>(code)); }
  float symmetric_dis(faiss::Index::idx_t i, faiss::Index::idx_t j) override {
    return distance(reinterpret_cast<const float*>(codes + i * code_size), reinterpret_cast<const float*>(codes + j * code_size));
  }

 private:
  float distance(const float* a, const float* b) const { return inner_product_ ? dot(a, b, dim_) : l2(a, b, dim_); }
  size_t dim_;
  bool inner_product_;
  const float* query_ = nullptr;
};

class CodeDistance : public faiss::FlatCodesDistanceComputer {
 public:
  CodeDistance(const faiss::IndexScalarQuantizer& index, bool inner_product)
      : FlatCodesDistanceComputer(index.codes.data(), index.code_size),
        dim_(index.d),
        inner_product_(inner_product),
        offset_(dim_),
        scale_(dim_),
        query_(dim_) {
    // QT_8bit: trained is the least value of every component, then its range; code c is least + (c + 1/2) / 255 * range.
    for (size_t i = 0; i < dim_; i++) {
      scale_[i] = index.sq.trained[dim_ + i] / 255;
      offset_[i] = index.sq.trained[i] + scale_[i] / 2;
    }
  }
  void set_query(const float* x) override {
    constant_ = 0;
    for (size_t i = 0; i < dim_; i++) {
      query_[i] = inner_product_ ? x[i] * scale_[i] : x[i] - offset_[i];
      if (inner_product_) constant_ += x[i] * offset_[i];
    }
  }
  float distance_to_code(const uint8_t* code) override {
    return inner_product_ ? constant_ + dot_code(query_.data(), code, dim_) : l2_code(query_.data(), code, scale_.data(), dim_);
  }
  float symmetric_dis(faiss::Index::idx_t i, faiss::Index::idx_t j) override {
    const uint8_t *a = codes + i * code_size, *b = codes + j * code_size;
    return inner_product_ ? dot_codes(a, b, scale_.data(), offset_.data(), dim_) : l2_codes(a, b, scale_.data(), dim_);
  }

 private:
  size_t dim_;
  bool inner_product_;
  std::vector<float> offset_, scale_, query_;
  float constant_ = 0;
};

struct Flat : faiss::IndexFlat {
  using IndexFlat::IndexFlat;
  faiss::FlatCodesDistanceComputer* get_FlatCodesDistanceComputer() const override {
    return new FlatDistance(*this, metric_type == faiss::METRIC_INNER_PRODUCT);
  }
};

struct Codes : faiss::IndexScalarQuantizer {
  using IndexScalarQuantizer::IndexScalarQuantizer;
  faiss::FlatCodesDistanceComputer* get_FlatCodesDistanceComputer() const override {
    return new CodeDistance(*this, metric_type == faiss::METRIC_INNER_PRODUCT);
  }
};

class Faiss : public peers::Engine {
 public:
  explicit Faiss(bool codes) : codes_(codes) {}

  void build(const peers::Build& b) override {
    const auto metric = b.inner_product || b.cosine ? faiss::METRIC_INNER_PRODUCT : faiss::METRIC_L2;
    const int dim = static_cast<int>(b.dim);
    if (codes_) {
      storage_ = std::make_unique<Codes>(dim, faiss::ScalarQuantizer::QT_8bit, metric);
    } else {
      storage_ = std::make_unique<Flat>(dim, metric);
    }
    index_ = std::make_unique<faiss::IndexHNSW>(storage_.get(), static_cast<int>(b.m));
    index_->hnsw.efConstruction = static_cast<int>(b.ef_construction);
    index_->hnsw.rng = faiss::RandomGenerator(static_cast<int64_t>(b.seed));
    omp_set_num_threads(static_cast<int>(b.threads));
    index_->train(static_cast<faiss::Index::idx_t>(b.rows), b.base);
    index_->add(static_cast<faiss::Index::idx_t>(b.rows), b.base);
  }

  void search(const float* queries, size_t n, size_t k, size_t ef, uint32_t* ids) override {
    omp_set_num_threads(1);
    index_->hnsw.efSearch = static_cast<int>(ef);
    distances_.resize(n * k);
    labels_.resize(n * k);
    index_->search(static_cast<faiss::Index::idx_t>(n), queries, static_cast<faiss::Index::idx_t>(k), distances_.data(), labels_.data());
    for (size_t i = 0; i < n * k; i++) ids[i] = labels_[i] < 0 ? peers::missing : static_cast<uint32_t>(labels_[i]);
  }

 private:
  bool codes_;
  std::unique_ptr<faiss::Index> storage_;
  std::unique_ptr<faiss::IndexHNSW> index_;
  std::vector<float> distances_;
  std::vector<faiss::Index::idx_t> labels_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string kind = argc == 2 ? argv[1] : "";
  if (kind != "flat" && kind != "sq8") {
    std::cerr << "usage: faiss flat|sq8\n";
    return 2;
  }
  Faiss engine(kind == "sq8");
  return peers::serve(engine, "faiss-" + kind, PEERS_VERSION, kind == "sq8" ? "8-bit codes, no rescoring" : "float32");
}
