"""Times of the dense products beside which bench.cu stands: torch (cuBLAS), weights cold, a captured graph.

A line per case: dtype K N tokens µs GB/s TFLOP/s; first the bandwidth of a copy, bytes read plus bytes written.
"""

import torch

COLD_BYTES = 400 << 20


def median_us(run, count):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(21):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2] * 1000 / count


def main():
    print(torch.cuda.get_device_name(), torch.__version__, "TF32", torch.backends.cuda.matmul.allow_tf32)
    source = torch.randn(1 << 29, device="cuda")
    target = torch.empty_like(source)
    us = median_us(lambda: target.copy_(source), 1)
    print(f"copy {2 * source.nbytes / us / 1e3:.0f} GB/s")
    us = median_us(lambda: source.sum(), 1)
    print(f"sum {source.nbytes / us / 1e3:.0f} GB/s")
    del source, target
    for k, n in ((576, 1536), (2048, 5632), (4096, 11008)):
        for dtype in (torch.float16, torch.float32):
            each = n * k * dtype.itemsize
            weights = [torch.randn(n, k, device="cuda").to(dtype) for _ in range(min(COLD_BYTES // each + 2, 200))]
            for tokens in (1, 8, 64, 512):
                x = torch.randn(tokens, k, device="cuda").to(dtype)
                y = torch.empty(tokens, n, device="cuda", dtype=dtype)
                stream = torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    torch.mm(x, weights[0].t(), out=y)
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, stream=stream):
                        for w in weights:
                            torch.mm(x, w.t(), out=y)
                    us = median_us(graph.replay, len(weights))
                rate = 2 * tokens * n * k / us * 1e-6
                case = f"dense {str(dtype)[6:]} {k:5} {n:5} {tokens:4}"
                print(f"{case}  {us:8.2f} us {each / us / 1e3:7.0f} GB/s {rate:6.1f} TFLOP/s")


main()
