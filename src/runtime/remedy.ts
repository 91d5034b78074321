/** What to do about a provider that does not run here. */
export const REMEDY = {
  cpu: 'reinstall onnxruntime-node',
  spexpand: 'build the native kernels with "npm run build:native" (needs g++ or clang), or use cpu',
  cuda: 'install the CUDA 12 libraries of onnxruntime-node 1.30 (npm rebuild onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12), or use cpu',
  webgpu: 'install a Vulkan driver (libvulkan.so.1), or use cpu',
} as const
