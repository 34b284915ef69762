// hnswlib as a driver: float32 vectors, labels are rows. Built by threads that take rows in turn, as its Python module does.
#include "protocol.h"

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include <hnswlib/hnswlib.h>

namespace {

class Hnswlib : public peers::Engine {
 public:
  void build(const peers::Build& b) override {
    if (b.inner_product || b.cosine) {
      space_ = std::make_unique<hnswlib::InnerProductSpace>(b.dim);
    } else {
      space_ = std::make_unique<hnswlib::L2Space>(b.dim);
    }
    dim_ = b.dim;
    index_ = std::make_unique<hnswlib::HierarchicalNSW<float>>(space_.get(), b.rows, b.m, b.ef_construction, b.seed);
    index_->addPoint(b.base, 0);  // alone, so that the others find an entry point
    std::atomic<size_t> next{1};
    std::exception_ptr failure;
    std::mutex failing;
    std::vector<std::thread> threads;
    for (size_t t = 0; t < b.threads; t++) {
      threads.emplace_back([&] {
        try {
          for (size_t row; (row = next++) < b.rows;) index_->addPoint(b.base + row * b.dim, row);
        } catch (...) {
          std::lock_guard<std::mutex> lock(failing);
          failure = std::current_exception();
          next = b.rows;
        }
      });
    }
    for (auto& t : threads) t.join();
    if (failure) std::rethrow_exception(failure);
  }

  void search(const float* queries, size_t n, size_t k, size_t ef, uint32_t* ids) override {
    index_->setEf(ef);
    for (size_t i = 0; i < n; i++) {
      auto found = index_->searchKnn(queries + i * dim_, k);
      for (uint32_t* row = ids + i * k; !found.empty(); found.pop()) *row++ = static_cast<uint32_t>(found.top().second);
    }
  }

  // The library counts in atomics whether they are read or not.
  double distances() const override { return index_ ? static_cast<double>(index_->metric_distance_computations) : 0; }

 private:
  std::unique_ptr<hnswlib::SpaceInterface<float>> space_;
  std::unique_ptr<hnswlib::HierarchicalNSW<float>> index_;
  size_t dim_ = 0;
};

}  // namespace

int main() {
  Hnswlib engine;
  return peers::serve(engine, "hnswlib", PEERS_VERSION, "float32");
}
