# CPU or CUDA, by the index that torch comes from (pytorch.org names them):
#   docker build -t wsol-eval .                                   torch as pip brings it (with CUDA on Linux)
#   docker build -t wsol-eval --build-arg TORCH_INDEX=URL .       the CPU's, or another CUDA's
#   docker run --rm -v "$PWD":/work --user "$(id -u):$(id -g)" wsol-eval wsol-show photo.jpg
#   docker run --rm -v "$PWD":/work --user "$(id -u):$(id -g)" --gpus all --shm-size 8g wsol-eval wsol-train --dataset cub200
FROM python:3.11-slim
ARG TORCH_INDEX=""
COPY constraints.txt /project/constraints.txt
# Beside the usual index, not instead of it: torch's own has not every pinned release of what torch needs. Of equal
# releases pip takes the one with a local label (2.12.1+cpu), which is torch's.
RUN pip install --no-cache-dir --constraint /project/constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision
COPY pyproject.toml README.md LICENSE train_cutmix.py /project/
COPY wsol /project/wsol
COPY eval /project/eval
RUN pip install --no-cache-dir --constraint /project/constraints.txt '/project[example,backbones,coco,stores,tensorboard]'
# Compiled kernels and downloaded weights go to a folder that any user of the container may write to.
RUN mkdir -m 1777 /cache
ENV HOME=/cache XDG_CACHE_HOME=/cache TORCH_HOME=/cache/torch TORCHINDUCTOR_CACHE_DIR=/cache/inductor
WORKDIR /work
CMD ["wsol-show", "--help"]
