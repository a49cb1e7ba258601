// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_MOE_LAYER_ARRAYS_HPP
#define TOKKOS_EXAMPLES_MOE_LAYER_ARRAYS_HPP

#include "../common/Npy.hpp"

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace MoELayer {

/// The arrays of a folder, as Views.
class Arrays {
 public:
  explicit Arrays(const std::string& folder) : m_folder(folder) {}

  bool has(const std::string& name) const {
    return std::filesystem::exists(path(name));
  }

  /// An array of so many dimensions, of which all but the last may be missing:
  /// they are then 1.
  /// \throws Examples::BadInput when it has more, or is none of float32
  template <class View>
  View read(const std::string& name) const {
    const Examples::NpyArray array = Examples::readNpy(path(name));
    constexpr std::size_t rank     = View::rank();
    if (array.shape.empty() || array.shape.size() > rank)
      throw Examples::BadInput(path(name) + ": expected at most " +
                               std::to_string(rank) + " dimensions, got " +
                               std::to_string(array.shape.size()));
    std::size_t extents[3] = {1, 1, 1};
    for (std::size_t d = 0; d < array.shape.size(); ++d)
      extents[rank - array.shape.size() + d] = array.shape[d];
    return toDevice<View>(name, valuesOf(name, array), extents);
  }

 private:
  std::string path(const std::string& name) const {
    return m_folder + "/" + name + ".npy";
  }

  std::vector<float> valuesOf(const std::string& name,
                              const Examples::NpyArray& array) const {
    try {
      return Examples::npyValues<float>(array);
    } catch (const Examples::BadInput& error) {
      throw Examples::BadInput(path(name) + ": " + error.what());
    }
  }

  template <class View>
  static View toDevice(const std::string& name,
                       const std::vector<float>& values,
                       const std::size_t (&extents)[3]) {
    using Host =
        Kokkos::View<typename View::const_data_type, Kokkos::LayoutRight,
                     Kokkos::HostSpace, Kokkos::MemoryUnmanaged>;
    const auto make = [&](auto... n) {
      const View view(name, n...);
      Kokkos::deep_copy(view, Host(values.data(), n...));
      return view;
    };
    if constexpr (View::rank() == 1)
      return make(extents[0]);
    else if constexpr (View::rank() == 2)
      return make(extents[0], extents[1]);
    else
      return make(extents[0], extents[1], extents[2]);
  }

  std::string m_folder;
};

}  // namespace MoELayer

#endif
