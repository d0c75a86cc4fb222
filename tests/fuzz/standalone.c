/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once over the empty input and over each file of the given corpus folders. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Exactly as many bytes as the file has, so that AddressSanitizer sees the first one past it. */
static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    struct stat info;
    uint8_t *data = NULL;
    size_t size = 0;
    if (fstat(fileno(file), &info) == 0 && S_ISREG(info.st_mode)) {
        data = malloc(info.st_size ? (size_t)info.st_size : 1);
        size = data ? fread(data, 1, (size_t)info.st_size, file) : 0;
    }
    fclose(file);
    if (!data || size != (size_t)info.st_size) {
        fprintf(stderr, "%s: cannot be read whole\n", path);
        free(data);
        return -1;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

/* Returns how many files were replayed, -1 when one could not be read. */
static int replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int count = 0;
    for (const struct dirent *entry; count >= 0 && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *file = NULL;
        if (asprintf(&file, "%s/%s", path, entry->d_name) < 0)
            count = -1;
        else
            count = replay_file(file) < 0 ? -1 : count + 1;
        free(file);
    }
    closedir(folder);
    if (count == 0)
        fprintf(stderr, "%s: the corpus is empty\n", path);
    return count;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS...\n", argv[0]);
        return 2;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);
        if (count <= 0)
            return 1;
        printf("%s: %d inputs\n", argv[i], count);
    }
    return 0;
}
