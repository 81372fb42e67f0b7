#pragma once

// Marks what kernels call too. Empty in plain C++, so headers of the lower floors serve both.
#if defined(__CUDACC__)
#define ORRERY_HD __host__ __device__
#else
#define ORRERY_HD
#endif
